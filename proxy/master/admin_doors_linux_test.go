package master

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func init() {
	proxytest.Roles["apart"] = serveApartRole
	proxytest.Roles["knock"] = knock
}

// apart is a balancer whose master is a process of its own, with few descriptors.
type apart struct {
	*balancer
	cmd *exec.Cmd
}

// serveApart runs one under a limit of open files.
func serveApart(t *testing.T, nofile int, s proxy.Spec, nodes []*proxytest.FakeNode) *apart {
	t.Helper()
	b := newBalancer(t, s)
	b.nodes = nodes
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "spec.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := proxytest.PlayRole("apart", fmt.Sprint(nofile), b.dir, file)
	cmd.Stderr = b.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", b.log)
		}
	})
	waittest.Until(t, 20*time.Second, "the balancer serves", func() bool {
		s, err := b.Stats(context.Background())
		return err == nil && s.State == proxy.StateRunning
	})
	return &apart{b, cmd}
}

// serveApartRole is the role of that process.
func serveApartRole(args []string) error {
	var nofile uint64
	_, err := fmt.Sscan(args[0], &nofile)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: nofile, Max: nofile})
	}
	text, readErr := os.ReadFile(args[2])
	var s proxy.Spec
	if err = errors.Join(err, readErr, json.Unmarshal(text, &s)); err != nil {
		return err
	}
	return serveAlone(args[1], s, os.Stderr)
}

// knock is the role of many who keep connections to a door, come again when they lose one, and say so when all have been there.
func knock(args []string) error {
	var n int
	if _, err := fmt.Sscan(args[1], &n); err != nil {
		return err
	}
	held := make([]net.Conn, n)
	for round := 0; ; round++ {
		for i := range held {
			if held[i] != nil {
				held[i].Close()
			}
			c, err := net.DialTimeout("tcp4", args[0], 5*time.Second)
			if err != nil {
				return err
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			held[i] = c
			if _, err := io.WriteString(c, "GET "+args[2]+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err == nil {
				_, _ = bufio.NewReader(c).ReadString('\n')
			}
		}
		if round == 0 {
			fmt.Println("there")
		}
	}
}

// Whoever keeps connections to the side doors, health checks and control go on, and the doors answer others.
func TestSideDoorsStarveNobody(t *testing.T) {
	const nofile, visitors = 1024, 1500
	nodes := proxytest.StartNodes(t, 1)
	s := testSpec(nodes...)
	s.MaxConnections = 1000
	b := serveApart(t, nofile, s, nodes)
	b.eventuallyState("n0", proxy.NodeUp)
	health, door := b.address("health"), b.address("admin")
	before := b.residents()
	for _, at := range [][2]string{{health, "/health"}, {door, "/stats.json"}} {
		out := hold(t, proxytest.PlayRole("knock", at[0], fmt.Sprint(visitors), at[1]))
		if line, err := out.ReadString('\n'); err != nil || line != "there\n" {
			t.Fatalf("%q, %v", line, err)
		}
		limit := admin.VisitorsFor(nofile, b.stats().MaxWorkers)
		if n := descriptors(t, b.cmd.Process.Pid); n > nofile/2+limit {
			t.Errorf("the master has %d descriptors", n)
		}
	}
	// A check notices what becomes of the node.
	if !b.stats().Node("n0").Check.OK {
		t.Error("the node is not checked")
	}
	was := b.stats().Node("n0").Check.At
	for range 3 {
		b.eventually("a check", func(s *proxy.Stats) bool { return s.Node("n0").Check.OK && s.Node("n0").Check.At.After(was) })
		was = b.stats().Node("n0").Check.At
	}
	nodes[0].Stop()
	b.eventuallyState("n0", proxy.NodeDown)
	for _, url := range []string{"http://" + health + "/health", "http://" + door + "/metrics"} {
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	c := b.dial()
	if line := c.Hear(); !strings.Contains(line, "no node") {
		t.Error(line)
	}
	b.wantSmall(before, 64<<20)
}

// The control socket bounds its clients as well, and a newcomer is answered.
func TestControlStarvesNobody(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	var all []net.Conn
	for range 300 {
		c, err := net.Dial("unix", filepath.Join(b.dir, proxy.DaemonName+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		all = append(all, c)
	}
	b.stats()
	deadline := time.Now().Add(3 * time.Second) // before that for a request head ends them
	for i, c := range all[:200] {
		_ = c.SetReadDeadline(deadline)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
			t.Fatalf("client %d is still there: %v", i, err)
		}
	}
}

// Loopback doors are not for pages of others that have their name resolve to this machine.
func TestHealthOnLoopbackIsGuarded(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) { s.Admin.Hosts = []string{"lb.example.org"} })
	b.eventuallyState("n0", proxy.NodeUp)
	for host, want := range map[string]int{
		"localhost:8888": 200, "127.0.0.1": 200, "lb.example.org": 200, "evil.test": 403, "evil.test:8888": 403,
	} {
		if resp, _ := b.request("health", http.MethodGet, "/health", "", "Host", host); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", host, resp.Status, want)
		}
	}
}

// descriptors counts those of a process.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}
