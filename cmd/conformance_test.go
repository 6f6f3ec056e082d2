package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
)

var conformanceDir = flag.String("conformance.dir", "", "where .ci/conformance has put the public suite and the TypeScript SDK; without it their tests are skipped")

// peers returns the Node.js of the directory and the directory.
func peers(t *testing.T) (node, dir string) {
	t.Helper()
	if *conformanceDir == "" {
		t.Skip("needs -conformance.dir: run .ci/conformance")
	}
	dir, err := filepath.Abs(*conformanceDir)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "node"), dir
}

// everything builds the server the suite expects, which ships with the Go SDK, of the version in go.mod.
func everything(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "everything-server")
	out, err := exec.Command("go", "build", "-o", program, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// startEverything runs n of them, of one era, and a balancer over them. It returns the first node, and the
// entrances of the balancer.
func startEverything(t *testing.T, program, version string, n int) (straight, plain, secure entrance) {
	t.Helper()
	// In turn is the hardest for sessions. Without sessions nothing but its source keeps a client on a node,
	// and the suite has checks for which it must: the server of the suite keeps its list of tools in memory, so
	// that nobody hears of a change on another node. With any other balance those checks differ.
	balance := proxy.BalanceRoundRobin
	if mcp.EraOf(version) == mcp.StatelessEra {
		balance = proxy.BalanceSource
	}
	ports := freePorts(t, n)
	var nodes []string
	for i, port := range ports {
		cmd := exec.Command(program, "-http", "127.0.0.1:"+port, fmt.Sprintf("-stateless=%v", mcp.EraOf(version) == mcp.StatelessEra))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		// It has no port for TCP, and no health page: what is checked stands beside it.
		nodes = append(nodes, fmt.Sprintf("{name: n%d, host: 127.0.0.1, tcp: %d, http: %s}", i, echoNode(t), port))
		awaitPort(t, port)
	}
	dir, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &foreground{Client: proxy.Connect(dir), t: t, dir: dir, config: filepath.Join(dir, "erlmcp.yaml")}
	// A scenario asks for another host than the URL's, and a client of TLS then expects that one's certificate.
	cert, key := selfSigned(t, dir, "evil.example.com")
	text := fmt.Sprintf(`lb:
  listen: {tcp: "127.0.0.1:0", http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "", health: ""}
  tls: {cert: %s, key: %s}
  nodes: [%s]
  checks: {kind: tcp}
  sticky: {tcp: none}
  balance: %s
  max_connections: 1000
  limits: {exempt: ["127.0.0.1"]} # the suite opens a connection for each request
`, cert, key, strings.Join(nodes, ", "), balance)
	if err := os.WriteFile(f.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f.start()
	f.await("has all nodes", func(s *proxy.Stats) bool {
		return !slices.ContainsFunc(s.Nodes, func(n proxy.NodeStats) bool { return n.State != "up" })
	})
	s, err := f.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plain, secure = entrances(t, &s, cert)
	return entrance{base: "http://127.0.0.1:" + ports[0]}, plain, secure
}

func awaitPort(t *testing.T, port string) {
	t.Helper()
	_ = waittest.For(t, time.Minute, "somebody listens", func() (seen any, listens bool) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err, err == nil
	})
}

// TestConformance runs the public suite straight at a node and through the balancer, which has four of
// them, with and without TLS. Each check must give the same every way, be it good or bad: that is the node's
// business.
func TestConformance(t *testing.T) {
	node, dir := peers(t)
	program := everything(t)
	for _, version := range []string{mcp.Version20251125, mcp.Version20260728} {
		t.Run(version, func(t *testing.T) {
			straight, plain, secure := startEverything(t, program, version, 4)
			want := suite(t, node, dir, straight, version)
			for _, via := range []entrance{plain, secure} {
				t.Run(via.scheme(), func(t *testing.T) { sameChecks(t, want, suite(t, node, dir, via, version)) })
			}
		})
	}
}

// sameChecks compares the results of the suite straight at a node with those through the balancer.
func sameChecks(t *testing.T, want, got map[string][]string) {
	t.Helper()
	names := slices.Sorted(maps.Keys(want))
	for name := range got {
		if _, ok := want[name]; !ok {
			names = append(names, name)
		}
	}
	table := new(strings.Builder)
	w := tabwriter.NewWriter(table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "scenario\tstraight\tthrough the balancer")
	checks := 0
	for _, name := range names {
		checks += len(want[name])
		fmt.Fprintf(w, "%s\t%s\t%s\n", name, passed(want[name]), passed(got[name]))
		if !slices.Equal(want[name], got[name]) {
			t.Errorf("%s: straight\n  %s\nthrough the balancer\n  %s", name, strings.Join(want[name], "\n  "), strings.Join(got[name], "\n  "))
		}
	}
	if err := w.Flush(); err != nil {
		t.Error(err)
	}
	if checks < 50 {
		t.Errorf("only %d checks: the suite has not run", checks)
	}
	t.Logf("%d scenarios, %d checks\n%s", len(names), checks, table)
}

// stamp is what the suite appends to the name of a scenario.
var stamp = regexp.MustCompile(`-\d{4}-\d\d-\d\dT[\d-]+Z$`)

// suite returns the results of all checks by scenario: their names, in order, and how they ended.
func suite(t *testing.T, node, dir string, at entrance, version string) map[string][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	results := t.TempDir()
	cmd := exec.CommandContext(ctx, node, filepath.Join(dir, "node_modules/.bin/conformance"), "server", "--url", at.base+"/mcp", "--requirements", version, "-o", results)
	cmd.Env = at.environ()
	if at.ca != "" {
		preload, err := filepath.Abs("testdata/peers/https.cjs")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "NODE_OPTIONS=--require="+preload)
	}
	out, err := cmd.CombinedOutput() // an error may be checks that fail
	files, globErr := filepath.Glob(filepath.Join(results, "*", "checks.json"))
	if globErr != nil || len(files) == 0 || ctx.Err() != nil {
		t.Fatalf("%v, %v\n%s", err, ctx.Err(), out)
	}
	scenarios := map[string][]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var checks []struct{ ID, Status string }
		if err := json.Unmarshal(data, &checks); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		name := strings.TrimPrefix(stamp.ReplaceAllString(filepath.Base(filepath.Dir(file)), ""), "server-")
		if _, twice := scenarios[name]; twice {
			t.Fatalf("%s has run twice", name)
		}
		scenarios[name] = []string{}
		for _, c := range checks {
			scenarios[name] = append(scenarios[name], c.ID+" "+c.Status)
		}
	}
	return scenarios
}

func passed(checks []string) string {
	n := 0
	for _, c := range checks {
		if strings.HasSuffix(c, " SUCCESS") {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(checks))
}

// TestTypeScriptClients has the clients of the TypeScript SDK, of both major versions and both eras, and
// over the legacy transport, work through the balancer in front of four nodes, with and without TLS.
func TestTypeScriptClients(t *testing.T) {
	node, dir := peers(t)
	// Modules are found from where a script lies.
	script := filepath.Join(dir, "clients.mjs")
	text, err := os.ReadFile("testdata/peers/clients.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, text, 0o600); err != nil {
		t.Fatal(err)
	}
	startCluster(t, 4).overEach(t, func(t *testing.T, via entrance) {
		for _, client := range []string{"v1-streamable", "v1-sse", "v2-session", "v2-stateless"} {
			t.Run(client, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				cmd := exec.CommandContext(ctx, node, script, client, via.base)
				cmd.Env = via.environ()
				typeScriptSessions(t, cmd, client)
			})
		}
	})
}

// typeScriptSessions runs a client of testdata/peers/clients.mjs and judges where its sessions went.
func typeScriptSessions(t *testing.T, cmd *exec.Cmd, client string) {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	// A line for each session: the nodes that answered.
	spread := map[string]int{}
	sessions := 0
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); sessions++ {
		nodes := strings.Fields(s.Text())
		if len(nodes) != 5 {
			t.Errorf("%q", s.Text())
		}
		for _, n := range nodes {
			spread[n]++
			if client != "v2-stateless" && n != nodes[0] {
				t.Errorf("a session went over %v", nodes)
			}
		}
	}
	if sessions != 8 || len(spread) < 2 && client != "v1-sse" {
		t.Errorf("%d sessions over %v", sessions, spread)
	}
	t.Logf("%d sessions of 5 calls over %v", sessions, spread)
}
