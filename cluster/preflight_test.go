package cluster

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/cluster/nodelog"
	"github.com/erlmcp/erlmcp/internal/control"
)

func TestOverlap(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:1", "127.0.0.1:1", true},
		{"127.0.0.1:1", "127.0.0.1:2", false},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"127.0.0.1:1", "0.0.0.0:1", true},
		{"[::]:1", "127.0.0.1:1", true},
		{"[::1]:1", "127.0.0.1:1", false},
		{"localhost:1", "127.0.0.1:1", true},
		{"", "127.0.0.1:1", false},
	}
	for _, test := range tests {
		if overlap(test.a, test.b) != test.want || overlap(test.b, test.a) != test.want {
			t.Errorf("%q and %q: want %t", test.a, test.b, test.want)
		}
	}
}

func TestPreflight(t *testing.T) {
	spec := testSpec(t, 2)
	dir := shortDir(t)
	taken, err := net.Listen("tcp", spec.Nodes[1].TCPAddress())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var ports *PortsError
	if err := Preflight(t.Context(), spec, dir, nil); !errors.As(err, &ports) || len(ports.Conflicts) != 1 || ports.Conflicts[0].Node != "erlmcp2" {
		t.Errorf("a port that is taken: %v", err)
	}
	down := NodeStatus{Name: "x", TCP: spec.Nodes[1].TCPAddress()}
	if err := Preflight(t.Context(), spec, dir, []NodeStatus{down}); !errors.As(err, &ports) {
		t.Errorf("a port that is taken, of a node that does not run: %v", err)
	}
	runs := down
	runs.PID = 1
	if err := Preflight(t.Context(), spec, dir, []NodeStatus{runs}); err != nil {
		t.Errorf("a port that a node has which is to be stopped: %v", err)
	}
	left, err := os.ReadDir(LogDir(dir, spec))
	if err != nil || len(left) != 0 {
		t.Errorf("in the directory of the logs are %v, %v", left, err)
	}

	_ = taken.Close()
	if err := os.Mkdir(nodelog.Path(LogDir(dir, spec), "erlmcp1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Preflight(t.Context(), spec, dir, nil); err == nil || !strings.Contains(err.Error(), "erlmcp1.log is a directory") {
		t.Errorf("a log that is a directory: %v", err)
	}
	if os.Getuid() == 0 {
		other := shortDir(t)
		if err := os.Chown(other, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		var wrong *control.DirError
		if err := Preflight(t.Context(), spec, other, nil); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "belongs to user 65534") {
			t.Errorf("the state directory of another user: %v", err)
		}
	}
}

// Nodes that could not be started again are not stopped.
func TestRestartOfNodesThatCannotStart(t *testing.T) {
	spec, dir := shellSpec(t, "exec sleep 1000\n", nil)
	c := supervise(t, spec, SupervisorOptions{})
	before := node(t, c, "erlmcp1")
	program := filepath.Join(dir, "node.sh")
	if err := os.Rename(program, program+".away"); err != nil {
		t.Fatal(err)
	}
	err := c.RestartNodes(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "erlmcp1 cannot be started again, so it was not stopped: ") {
		t.Errorf("got %v", err)
	}
	if now := node(t, c, "erlmcp1"); now.PID != before.PID || now.State != StateReady {
		t.Errorf("node was %+v and is %+v", before, now)
	}
	if err := os.Rename(program+".away", program); err != nil {
		t.Fatal(err)
	}
	if err := c.RestartNodes(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
