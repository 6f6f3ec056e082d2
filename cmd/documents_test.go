package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Each example of the documents does what they say: see site.try.
func TestExamples(t *testing.T) {
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "docs/guide.md", "docs/http.md", "docs/operations.md", "docs/load-test.md", "docs/load-from-many-machines.md"} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if name == "docs/operations.md" || name == "docs/load-test.md" { // are about what runs
				s.run("erlmcp cluster start --nodes 4 && erlmcp lb start")
			}
			blocks := blocksOf(t, name)
			for i, b := range blocks {
				shown := ""
				if i+1 < len(blocks) && blocks[i+1].kind == "" && blocks[i+1].follows {
					shown = blocks[i+1].text
				}
				s.at = fmt.Sprintf("%s:%d", name, b.line)
				s.try(b, shown)
			}
			s.at = name
			s.verifyUnits()
		})
	}
}

// block is what stands between two fences.
type block struct {
	kind    string // the word behind the first fence
	line    int    // of that fence
	text    string
	follows bool // there is no text between it and the block before
}

func blocksOf(t *testing.T, name string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile("../" + name)
	if err != nil {
		t.Fatal(err)
	}
	inside, follows := false, false
	for i, line := range strings.SplitAfter(string(text), "\n") {
		kind, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && !inside:
			blocks = append(blocks, block{kind: kind, line: i + 1, follows: follows})
			inside = true
		case fence:
			inside, follows = false, true
		case inside:
			blocks[len(blocks)-1].text += line
		case strings.TrimSpace(line) != "":
			follows = false
		}
	}
	return blocks
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	anchor  = regexp.MustCompile(`<a id="([^"]+)">`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```")
)

// Links within the documents lead to files and headings that are there.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := make(map[string]map[string]bool) // of a page
	texts := make(map[string]string)
	for _, name := range append(pages, "../README.md", "../CONTRIBUTING.md", "../SECURITY.md", "../CHANGELOG.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = fenced.ReplaceAllString(string(text), "")
		anchors[name] = make(map[string]bool)
		for _, h := range heading.FindAllStringSubmatch(texts[name], -1) {
			anchors[name][slug(h[1])] = true
		}
		for _, a := range anchor.FindAllStringSubmatch(texts[name], -1) {
			anchors[name][a[1]] = true
		}
	}
	for name, text := range texts {
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(l[1], "://") {
				continue
			}
			file, at, _ := strings.Cut(l[1], "#")
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", name, l[1], err)
			}
			if at != "" && !anchors[target][at] {
				t.Errorf("%s links to %s, where there is no such heading", name, l[1])
			}
		}
	}
}

// slug is the anchor that GitHub makes of a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.ReplaceAll(heading, "`", ""))
}

// site is a machine for the reader of one page: a directory, a home, ports, nothing that runs.
type site struct {
	t   *testing.T
	dir string
	at  string            // where the page is being read
	env []string          // of the reader
	own map[string]string // "8080" of the page is this port
}

// newSite has all that the documents take for granted at ports and addresses of its own. The user's file says so, which
// what a page writes into ./erlmcp.yaml has precedence of.
func newSite(t *testing.T) *site {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ports := freePorts(t, len(wellKnownPorts)+1)
	s := &site{t: t, dir: dir, own: make(map[string]string)}
	for i, port := range wellKnownPorts {
		s.own[port] = ports[i]
	}
	var id int // nodes that are added take the ports after those that are there: they have an address of their own
	_, _ = fmt.Sscan(ports[len(wellKnownPorts)], &id)
	var nodes strings.Builder
	for i := 1; i <= 6; i++ {
		fmt.Fprintf(&nodes, "    - {name: erlmcp%d, host: 127.77.%d.%d, tcp: %d, http: %d, sse: %d}\n", i, id/256, id%256, 9000+i, 9100+i, 9200+i)
	}
	cert, key := selfSigned(t, dir)
	user := fmt.Sprintf("cluster:\n  nodes:\n%slb:\n  listen: {tcp: \":%s\", http: \":%s\", https: \":%s\", admin: \"127.0.0.1:%s\", health: \"127.0.0.1:%s\"}\n  tls: {cert: %s, key: %s}\n",
		&nodes, ports[0], ports[1], ports[2], ports[3], ports[4], cert, key)
	for name, text := range map[string]string{"home/.config/erlmcp/erlmcp.yaml": user, "etc/systemd/system/x": "", "bin/x": "", "reader/ca.pem": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pem, err := os.ReadFile(cert); err != nil || os.WriteFile(filepath.Join(dir, "reader", "ca.pem"), pem, 0o600) != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "HOME="+dir+"/home", "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "ERLMCP_STATE_DIR="+dir, "NO_COLOR=1")
	t.Cleanup(func() { s.run("erlmcp down") })
	return s
}

// run has a shell run a script, where the reader is. It ends the test if that fails.
func (s *site) run(script string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = filepath.Join(s.dir, "reader"), s.env, &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s: %v\n%s\n%s%s", s.at, err, script, &stdout, &stderr)
	}
	return stdout.String()
}

// try does with a block what its kind asks for. One of these is an error.
//
//	sh      is run, line by line; what a test cannot run is looked at, see elsewhere
//	""      behind it is what the commands before print
//	yaml    is a configuration without a fault
//	json    can be read
func (s *site) try(b block, shown string) {
	s.t.Helper()
	switch b.kind {
	case "sh":
		got := s.run(s.script(b.text))
		if shown != "" {
			s.same(got, shown)
		}
	case "":
		if strings.HasPrefix(b.text, "erlmcp: ") {
			s.sameError(b.text)
		} else if !b.follows && !strings.Contains(b.text, "│") {
			s.t.Errorf("%s: a block that is of no kind, and shows no output", s.at)
		}
	case "yaml":
		s.checkYAML(b.text)
	case "json":
		if !json.Valid([]byte(b.text)) {
			s.t.Errorf("%s: this is not JSON: %s", s.at, b.text)
		}
	default:
		s.t.Errorf("%s: nobody knows how to try %q", s.at, b.kind)
	}
}

// elsewhere are the beginnings of commands that this test does not run, and what does. It looks whether what they name is
// there.
var elsewhere = []struct{ begin, by string }{
	{"go run ./cmd/erlmcp loadtest", ".ci/run end_to_end, with 10,000 connections"},
	{"erlmcp loadtest 500000", "TestAgentsOfSeparateMachines, with fewer"},
	{"erlmcp loadtest https://mcp.example.org", "cmd/testdata/loadtest_target.txtar, without loading anybody"},
	{"erlmcp loadtest http://127.0.0.1:3000/mcp 200 30 --tool search", "TestFromTool"},
	{"erlmcp loadtest http://127.0.0.1:3000/mcp 200 30 --scenario", "TestReadScenario"},
	{"erlmcp loadtest agent ", "TestAgentsOfSeparateMachines"},
	{"go build ./cmd/erlmcp", "whoever has built this test"},
	{"go install ./cmd/erlmcp", "whoever has built this test"},
	{"go generate ./cmd", "TestGeneratedFilesAreCurrent"},
	{"go test ", "itself"},
	{".ci/", "itself"},
	{"npm install ", ".ci/servers, with the commands that follow in the block"},
	{"systemctl ", ".ci/service, under the real systemd"},
	{"loginctl ", ".ci/service, under the real systemd"},
	{"useradd ", ".ci/service, under the real systemd"},
	{"sudo ", ".ci/service, under the real systemd"},
}

// otherwise are commands that a test runs in another way: so that neither time nor the machine decides.
var otherwise = map[string]string{
	"erlmcp health":            "erlmcp health --wait --timeout 2m >/dev/null",
	"erlmcp lb status":         "erlmcp lb status >/dev/null || [ $? -eq 1 ]",
	"erlmcp doctor":            "erlmcp doctor >/dev/null || [ $? -eq 1 ]", // this machine may lack something
	"erlmcp doctor 10000":      "erlmcp doctor 10000 >/dev/null || [ $? -eq 1 ]",
	"erlmcp loadtest 10000 10": "erlmcp loadtest 100 0.5 >/dev/null || [ $? -eq 1 -o $? -eq 4 ]",

	"erlmcp loadtest 1000 10 --up":                                            "erlmcp loadtest 100 0.5 --up >/dev/null || [ $? -eq 1 -o $? -eq 4 ]",
	"erlmcp loadtest http://127.0.0.1:8080/mcp 200 10":                        anyServer,
	"erlmcp loadtest http://127.0.0.1:3000/mcp 200 30":                        anyServer,
	"erlmcp loadtest http://127.0.0.1:3000/mcp 200 30 --report reports/today": strings.Replace(anyServer, "--", "--report reports/today --", 1),

	`erlmcp loadtest http://127.0.0.1:3000/mcp 200 30 --tool echo --args '{"message":"{{$uuid}}"}'`: strings.Replace(anyServer, "--", `--tool echo --args '{"message":"{{$uuid}}"}' --`, 1),
}

// anyServer is a load test of a server that nothing is known of but its address, which here is the balancer's.
const anyServer = "erlmcp loadtest http://127.0.0.1:8080/mcp 20 0.5 --failover none >/dev/null || [ $? -eq 1 -o $? -eq 4 ]"

// wellKnownPorts are those of the documents: tcp, http, https, admin and health.
var wellKnownPorts = []string{"8000", "8080", "8443", "8404", "8888"}

var wellKnownPort = regexp.MustCompile(`:(` + strings.Join(wellKnownPorts, "|") + `)\b`)

// script is a block as it can be run here.
func (s *site) script(text string) string {
	s.t.Helper()
	var script strings.Builder
	for line := range strings.Lines(text) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if other := otherwise[command]; other != "" {
			line = other + "\n"
		}
		if by := runBy(command); by != "" {
			s.look(command)
			if strings.HasPrefix(command, "npm ") {
				return ":"
			}
			line = ": " + by + "\n"
		}
		script.WriteString(line)
	}
	local := wellKnownPort.ReplaceAllStringFunc(script.String(), func(port string) string { return ":" + s.own[port[1:]] })
	return strings.NewReplacer("/etc/", s.dir+"/etc/", "/usr/local/bin/", s.dir+"/bin/").Replace(local)
}

func runBy(command string) string {
	for _, e := range elsewhere {
		if strings.HasPrefix(command, e.begin) {
			return e.by
		}
	}
	return ""
}

var (
	testName    = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z][A-Za-z]+`)
	testFlag    = regexp.MustCompile(` -([a-z]+\.[a-z]+)\b`)
	testPackage = regexp.MustCompile(` \./([a-z0-9/]+)`)
	script      = regexp.MustCompile(`^\.ci/[\w-]+`)
)

// look requires that there is what a command names that is not run: a script, tests and their flags, a command of erlmcp.
func (s *site) look(command string) {
	s.t.Helper()
	if name := script.FindString(command); name != "" {
		if info, err := os.Stat("../" + name); err != nil || info.Mode()&0o100 == 0 {
			s.t.Errorf("%s: %s cannot be executed", s.at, name)
		}
	}
	if dir := testPackage.FindStringSubmatch(command); dir != nil && strings.HasPrefix(command, "go test") {
		files, _ := filepath.Glob("../" + dir[1] + "/*_test.go")
		var all bytes.Buffer
		for _, name := range files {
			text, _ := os.ReadFile(name)
			all.Write(text)
		}
		for _, name := range testName.FindAllString(command, -1) {
			if !bytes.Contains(all.Bytes(), []byte("\nfunc "+name)) {
				s.t.Errorf("%s: there is no %s in %s", s.at, name, dir[1])
			}
		}
		for _, name := range testFlag.FindAllStringSubmatch(command, -1) {
			if !bytes.Contains(all.Bytes(), []byte(`"`+name[1]+`"`)) {
				s.t.Errorf("%s: there is no flag -%s in %s", s.at, name[1], dir[1])
			}
		}
	}
	words := strings.Fields(command)
	for i := len(words) - 1; i >= 0; i-- {
		if filepath.Base(words[i]) != "erlmcp" || i > 0 && words[0] != "sudo" && words[0] != "go" {
			continue
		}
		c, args, err := tree().Find(words[i+1:])
		if err == nil {
			err = c.ParseFlags(args)
		}
		if err != nil || i+1 < len(words) && !c.HasParent() {
			s.t.Errorf("%s: %s: %v", s.at, command, err)
		}
		return
	}
}

// variable is what differs from run to run in what is shown.
var variable = []struct {
	is *regexp.Regexp
	in string
}{
	{regexp.MustCompile(`(?m)^(Date|Content-Length): .*$`), "$1: …"},
	{regexp.MustCompile(`(?m)^(Mcp-Session-Id): [A-Z0-9]{26}~[\w-]{16}$`), "$1: …"},
	{regexp.MustCompile(`(?m)^(Set-Cookie: SERVERID)=[\w-]{16};`), "$1=…;"},
	{regexp.MustCompile(`(?m)^(X-Served-By: erlmcp)[1-4]$`), "${1}N"},
	{regexp.MustCompile(`"version":"[^"]*"`), `"version":"…"`},
}

func steady(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	for _, v := range variable {
		text = v.is.ReplaceAllString(text, v.in)
	}
	return strings.TrimSpace(text)
}

func (s *site) same(got, shown string) {
	s.t.Helper()
	if got, want := steady(got), steady(shown); got != want {
		s.t.Errorf("%s: got\n%s\nwhere the page has\n%s", s.at, got, want)
	}
}

// unknownKey is the error that documents show.
var unknownKey = regexp.MustCompile(`^erlmcp: erlmcp\.yaml:3:5: (\w+)\.(\w+)\.(\w+): unknown key`)

// sameError has somebody write what the error that is shown says, and requires that the error is that.
func (s *site) sameError(shown string) {
	s.t.Helper()
	keys := unknownKey.FindStringSubmatch(shown)
	if keys == nil {
		s.t.Fatalf("%s: nobody knows how to make the error %s", s.at, shown)
	}
	got := s.run(fmt.Sprintf("mkdir wrong && cd wrong && printf '%s:\\n  %s:\\n    %s: 50\\n' >erlmcp.yaml && ! erlmcp config check 2>&1", keys[1], keys[2], keys[3]))
	first, _, _ := strings.Cut(got, "\n")
	s.same(first, shown)
}

// checkYAML checks a configuration of erlmcp, or of Prometheus, or commands of a workflow.
func (s *site) checkYAML(text string) {
	s.t.Helper()
	var document map[string]any
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		s.t.Errorf("%s: %v", s.at, err)
	}
	name := filepath.Join(s.dir, "reader", "block.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if document["jobs"] != nil {
		for line := range strings.Lines(text) {
			if command := strings.TrimSpace(line); strings.HasPrefix(command, "erlmcp ") {
				s.look(command)
			}
		}
		return
	}
	if document["scrape_configs"] == nil {
		s.run("XDG_CONFIG_HOME=$PWD erlmcp config check block.yaml")
	} else if _, err := exec.LookPath("promtool"); err == nil {
		s.run("promtool check config --syntax-only block.yaml")
	}
}

// verifyUnits has systemd look at the units that a page has made.
func (s *site) verifyUnits() {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		return
	}
	_ = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".service") {
			s.run("systemd-analyze verify --man=no " + path)
		}
		return err
	})
}
