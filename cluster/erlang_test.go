package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/erldist"
	"github.com/erlmcp/erlmcp/internal/sockdiag"
)

// erlangSpec is a cluster of n real Erlang nodes with an epmd of their own, which listens: nodes start one that is
// missing, but do not wait for it. The test is skipped where Erlang is missing.
func erlangSpec(t *testing.T, n int) Spec {
	t.Helper()
	for _, program := range []string{"erl", "erlc", "epmd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("notice: not tested with real Erlang nodes: %v", err)
		}
	}
	s := testSpec(t, n)
	for i := range s.Nodes {
		s.Nodes[i].SSE = 0
	}
	s.Runtime = RuntimeErlang
	s.Erlang.Root = compileErlang(t)
	port := strconv.Itoa(freePorts(t, 1)[0])
	t.Setenv("ERL_EPMD_PORT", port)
	t.Cleanup(func() { // it refuses while a node lives
		eventually(t, "end of the test's epmd", func() bool {
			_ = exec.Command("epmd", "-port", port, "-kill").Run()
			number, _ := strconv.Atoi(port)
			return !listens(number)
		})
	})
	if out, err := exec.Command("epmd", "-port", port, "-daemon").CombinedOutput(); err != nil {
		t.Fatalf("epmd: %v\n%s", err, out)
	}
	eventually(t, "the test's epmd", func() bool {
		number, _ := strconv.Atoi(port)
		return listens(number)
	})
	return s
}

// compileErlang compiles the nodes of testdata/erlang into ROOT/ebin.
func compileErlang(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	ebin := filepath.Join(root, "ebin")
	if err := os.Mkdir(ebin, 0o700); err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("testdata/erlang/src/*.erl")
	if err != nil || len(sources) == 0 {
		t.Fatalf("sources are %q, %v", sources, err)
	}
	if out, err := exec.Command("erlc", append([]string{"-Wall", "-Werror", "-o", ebin}, sources...)...).CombinedOutput(); err != nil {
		t.Fatalf("erlc: %v\n%s", err, out)
	}
	app, err := os.ReadFile("testdata/erlang/src/erlmcp.app.src")
	if err == nil {
		err = os.WriteFile(filepath.Join(ebin, "erlmcp.app"), app, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// slow is a life of programs that take seconds to start.
var slow = func() pace {
	p := quick
	p.startTimeout, p.stopGrace = time.Minute, 20*time.Second
	return p
}()

func seesAll(s Status) bool {
	for _, n := range s.Nodes {
		if n.Distribution == nil || len(n.Distribution.Sees) != len(s.Nodes)-1 || slices.Contains(n.Distribution.Sees, n.Name) {
			return false
		}
	}
	return s.Healthy()
}

func TestErlangCluster(t *testing.T) {
	dir := shortDir(t)
	spec := erlangSpec(t, 4)
	c := supervise(t, spec, SupervisorOptions{StateDir: dir, pace: slow})
	s, err := c.Status(t.Context())
	if err != nil || !seesAll(s) {
		t.Fatalf("after the start: %+v, %v", s, err)
	}
	for i, n := range s.Nodes {
		if got := ask(t, n.TCP, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami"}}`); !strings.Contains(got, `"node":"`+n.Name+`"`) {
			t.Errorf("%s answers %s", n.Name, got)
		}
		reply, err := http.Get("http://" + spec.Nodes[i].HTTPAddress() + "/health")
		if err != nil || reply.StatusCode != http.StatusOK {
			t.Fatalf("health of %s: %v, %v", n.Name, reply, err)
		}
		reply.Body.Close()
	}
	cookie := cookieOf(t, dir)
	keepsSecret(t, cookie, s)
	onLoopbackOnly(t, s)

	first := s.Nodes[0]
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the killed node among the others", func() bool {
		now, err := c.Status(t.Context())
		return err == nil && now.Nodes[0].Restarts == 1 && seesAll(now)
	})
	s, err = c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes {
		if alive(n.PID) {
			t.Errorf("%s outlives the cluster", n.Name)
		}
	}
	if port, _ := strconv.Atoi(os.Getenv("ERL_EPMD_PORT")); !listens(port) {
		t.Error("epmd, which others may use, has ended with the cluster")
	}
}

func ask(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintln(c, request)
	buf := make([]byte, 64<<10)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func cookieOf(t *testing.T, stateDir string) string {
	t.Helper()
	path := filepath.Join(stateDir, "erlang", ".erlang.cookie")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("cookie file: %v, %v", info, err)
	}
	text, err := os.ReadFile(path)
	if err != nil || len(text) < 20 {
		t.Fatalf("cookie file has %d bytes, %v", len(text), err)
	}
	return string(text)
}

// keepsSecret fails if the cookie can be seen from outside.
func keepsSecret(t *testing.T, cookie string, s Status) {
	t.Helper()
	for _, n := range s.Nodes {
		for _, path := range []string{n.Log, fmt.Sprintf("/proc/%d/cmdline", n.PID), fmt.Sprintf("/proc/%d/environ", n.PID)} {
			text, err := os.ReadFile(path)
			if err == nil && bytes.Contains(text, []byte(cookie)) {
				t.Errorf("the cookie is in %s", path)
			}
		}
	}
}

// onLoopbackOnly fails if a node listens on another address.
func onLoopbackOnly(t *testing.T, s Status) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return // not Linux
	}
	listeners := map[string]string{} // by inode
	for _, line := range strings.Split(string(table), "\n") {
		if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" {
			listeners["socket:["+f[9]+"]"] = f[1]
		}
	}
	for _, n := range s.Nodes {
		found := 0
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", n.PID))
		for _, f := range files {
			target, _ := os.Readlink(f)
			at, ok := listeners[target]
			if !ok {
				continue
			}
			found++
			if !strings.HasPrefix(at, "0100007F:") {
				t.Errorf("%s listens on %s", n.Name, at)
			}
		}
		if found != 3 { // TCP, HTTP, distribution
			t.Errorf("%s has %d listeners", n.Name, found)
		}
	}
}

func TestErlangPartition(t *testing.T) {
	dir := shortDir(t)
	spec := erlangSpec(t, 2)
	spec.Erlang.CookieFile = filepath.Join(t.TempDir(), "cookie")
	if err := os.WriteFile(spec.Erlang.CookieFile, []byte("a-cookie-that-is-given\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := supervise(t, spec, SupervisorOptions{StateDir: dir, pace: slow})
	cookie := cookieOf(t, dir)
	if cookie != "a-cookie-that-is-given" {
		t.Errorf("the nodes' cookie is %q", cookie)
	}
	one := erldist.Node{Name: "erlmcp1@127.0.0.1", Cookie: cookie, As: "test@127.0.0.1"}
	two := erldist.Atom("erlmcp2@127.0.0.1")
	call := func(module, function string, args ...erldist.Term) {
		t.Helper()
		if result, err := one.Call(t.Context(), module, function, args...); err != nil || result != erldist.Atom("true") {
			t.Fatalf("%s:%s: %v, %v", module, function, result, err)
		}
	}
	call("erlang", "set_cookie", two, erldist.Atom("another"))
	call("erlang", "disconnect_node", two)
	for name, missed := range map[string]string{"erlmcp1": "erlmcp2", "erlmcp2": "erlmcp1"} {
		if n := awaitState(t, c, name, StateDegraded); n.Reason != "does not see "+missed {
			t.Errorf("node is %+v", n)
		}
	}
	call("erlang", "set_cookie", two, erldist.Atom(cookie))
	awaitState(t, c, "erlmcp1", StateReady)
	awaitState(t, c, "erlmcp2", StateReady)
}

// Nodes that are connected are whole, whatever has become of epmd.
func TestErlangWithoutEPMD(t *testing.T) {
	spec := erlangSpec(t, 2)
	c := supervise(t, spec, SupervisorOptions{pace: slow})
	epmd := netip.MustParseAddrPort("127.0.0.1:" + os.Getenv("ERL_EPMD_PORT"))
	pid, name, err := sockdiag.Listener(epmd)
	if err != nil || name != "epmd" {
		t.Skipf("cannot tell who listens on %v: %s (%d), %v", epmd, name, pid, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of epmd", func() bool { return !listens(int(epmd.Port())) })
	// For longer than the supervisor takes to tell of one that is missed.
	for end := time.Now().Add(surveyLooks*surveyRetry + 3*slow.survey); time.Now().Before(end); time.Sleep(slow.survey) {
		if s, err := c.Status(t.Context()); err != nil || !seesAll(s) {
			t.Fatalf("without epmd: %+v, %v", s, err)
		}
	}
	// One that starts brings epmd back.
	if err := c.RestartNodes(t.Context(), []string{"erlmcp1"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all nodes see each other", func() bool {
		s, err := c.Status(t.Context())
		return err == nil && seesAll(s)
	})
}

// The script does in short what that of a release does.
const releaseScript = `#!/bin/sh
[ "$1" = foreground ] || exit 2
cd "$(dirname "$0")/.."
exec erl -noinput -pa lib/erlmcp-1.0.0/ebin -args_file "$VMARGS_PATH" \
	-eval '{ok, _} = application:ensure_all_started(erlmcp, permanent)' -- "$@"
`

func makeRelease(t *testing.T, root, vmArgs string) (dir string) {
	t.Helper()
	dir = filepath.Join(root, "_build", "prod", "rel", "erlmcp")
	for name, text := range map[string]string{
		"bin/erlmcp": releaseScript, "releases/start_erl.data": "13.1 1.0.0\n", "releases/1.0.0/vm.args": vmArgs,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestErlangRelease(t *testing.T) {
	stateDir := shortDir(t)
	spec := erlangSpec(t, 2)
	dir := makeRelease(t, spec.Erlang.Root, "## ours\n-name wrong@192.0.2.1\n-setcookie leaked\n\n+K true\n-env FROM_RELEASE yes\n")
	if err := os.MkdirAll(filepath.Join(dir, "lib/erlmcp-1.0.0"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(spec.Erlang.Root, "ebin"), filepath.Join(dir, "lib/erlmcp-1.0.0/ebin")); err != nil {
		t.Fatal(err)
	}
	spec.Erlang.Release = "erlmcp"
	c := supervise(t, spec, SupervisorOptions{StateDir: stateDir, pace: slow})
	s, err := c.Status(t.Context())
	if err != nil || !seesAll(s) {
		t.Fatalf("status is %+v, %v", s, err)
	}
	keepsSecret(t, "leaked", s)
	one := erldist.Node{Name: "erlmcp1@127.0.0.1", Cookie: cookieOf(t, stateDir), As: "test@127.0.0.1"}
	got, err := one.Call(t.Context(), "os", "getenv", erldist.List{erldist.Int('F'), erldist.Int('R'), erldist.Int('O'), erldist.Int('M'),
		erldist.Int('_'), erldist.Int('R'), erldist.Int('E'), erldist.Int('L'), erldist.Int('E'), erldist.Int('A'), erldist.Int('S'), erldist.Int('E')})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(erldist.List{erldist.Int('y'), erldist.Int('e'), erldist.Int('s')}) {
		t.Errorf("the release's own vm.args is not heard: %v, %v", got, err)
	}
}

func TestErlangApplicationThatFails(t *testing.T) {
	spec := erlangSpec(t, 1)
	app := filepath.Join(spec.Erlang.Root, "ebin", "erlmcp_sup.beam")
	if err := os.Remove(app); err != nil {
		t.Fatal(err)
	}
	_, failed := superviseAsync(t, spec, SupervisorOptions{pace: slow})
	err := <-failed
	var start *StartError
	if !errors.As(err, &start) || start.How != "exited with status 1" || !strings.HasPrefix(strings.TrimSpace(start.Log), "cannot start: ") || !strings.Contains(start.Log, "erlmcp_sup,start_link") {
		t.Errorf("got %v", err)
	}
}
