package cmd

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/freeport"
	"github.com/erlmcp/erlmcp/internal/waittest"
)

// TestNodeServe runs a node in the foreground, and another one on its ports.
func TestNodeServe(t *testing.T) {
	ports := freePorts(t, 3)
	serve := func(name string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
		node := exec.Command("erlmcp", "node", "serve", "--name", name, "--tcp", ports[0], "--http", ports[1], "--sse", ports[2], "--max-connections", "100")
		var stdout, stderr bytes.Buffer
		node.Stdout, node.Stderr = &stdout, &stderr
		node.Env = append(os.Environ(), "NO_COLOR=1")
		return node, &stdout, &stderr
	}

	first, stdout, stderr := serve("n1")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Process.Kill() }()
	if got, want := get(t, "http://127.0.0.1:"+ports[1]+"/health"), `{"status":"ok","node":"n1",`; !strings.HasPrefix(got, want) {
		t.Errorf("health: %s", got)
	}

	second, stdout2, stderr2 := serve("n2")
	err := second.Run()
	if second.ProcessState.ExitCode() != 1 || stdout2.Len() > 0 {
		t.Errorf("on ports in use: %v, %s", err, stdout2)
	}
	taken := fmt.Sprintf(`^erlmcp: 127\.0\.0\.1:%s is in use by .*\(pid %d\)\nhint: .*\n$`, ports[0], first.Process.Pid)
	if !regexp.MustCompile(taken).MatchString(stderr2.String()) {
		t.Errorf("on ports in use: %s\nwant %s", stderr2, taken)
	}

	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if stdout.Len() > 0 || !strings.Contains(stderr.String(), "serving node=n1 ") {
		t.Errorf("said %q and %q", stdout, stderr)
	}
}

// freePorts finds TCP ports of 127.0.0.1.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	found, err := freeport.Find(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range found {
		ports = append(ports, strconv.Itoa(port))
	}
	return ports
}

// get asks until there is an answer.
func get(t *testing.T, url string) string {
	t.Helper()
	var body []byte
	_ = waittest.For(t, time.Minute, "an answer of "+url, func() (seen any, answered bool) {
		r, err := http.Get(url)
		if err != nil {
			return err, false
		}
		defer r.Body.Close()
		if body, err = io.ReadAll(r.Body); err != nil {
			t.Fatal(err)
		}
		return nil, true
	})
	return string(body)
}
