package cmd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
)

// heldNode is a program that serves when the file "go" is there, and ends when the file "end" is there,
// whatever it is told once it has made the file "deaf.NAME".
const heldNode = `cd "$1"
trap 'ending=yes' TERM
: > "deaf.$2"
until test -e go || test -n "$ending"; do sleep 0.02; done
if test -z "$ending"; then
	erlmcp node serve --name "$2" --host 127.0.0.1 --tcp "$3" --http "$4" --sse "$5" &
	node=$!
	until test -n "$ending"; do wait $node; done
fi
until test -e end; do sleep 0.02; done
kill $node
`

// heldCluster is a cluster of two nodes that start and end when a test says so.
type heldCluster struct {
	*chaos
}

func newHeldCluster(t *testing.T) heldCluster {
	c := heldCluster{newChaos(t, 0)}
	script := filepath.Join(c.dir, "node.sh")
	if err := os.WriteFile(script, []byte(heldNode), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env = append(c.env, "ERLMCP_CLUSTER_RUNTIME=command", "ERLMCP_CLUSTER_COMMAND_ARGV=sh,"+script+","+c.dir+",{name},{tcp},{http},{sse}")
	return c
}

// allow makes a file the nodes wait for.
func (c heldCluster) allow(what string) {
	c.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, what), nil, 0o600); err != nil {
		c.Fatal(err)
	}
}

// forbid takes it away.
func (c heldCluster) forbid(what string) {
	c.Helper()
	if err := os.Remove(filepath.Join(c.dir, what)); err != nil {
		c.Fatal(err)
	}
}

// status is that of the supervisor; zero when there is none.
func (c heldCluster) status() cluster.Status {
	s, _ := cluster.Connect(c.dir).Status(c.Context())
	return s
}

func (c heldCluster) awaitNode(i int, state cluster.State) {
	c.Helper()
	c.await(string(state), func() bool { s := c.status(); return len(s.Nodes) > i && s.Nodes[i].State == state })
}

func (c heldCluster) awaitPhase(phase cluster.Phase) {
	c.Helper()
	c.await(string(phase), func() bool { return c.status().State == phase })
}

// running is a command that is at work.
type running struct {
	*exec.Cmd
	c     heldCluster
	ended chan struct{}
}

func (c heldCluster) begin(args ...string) *running {
	c.Helper()
	stderr, err := os.CreateTemp(c.dir, "stderr")
	if err != nil {
		c.Fatal(err)
	}
	r := &running{Cmd: c.command(args...), c: c, ended: make(chan struct{})}
	r.Stderr = stderr
	if err := r.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = stderr.Close() })
	go func() {
		_ = r.Wait() // ProcessState tells
		close(r.ended)
	}()
	return r
}

// said is what the command has printed so far.
func (r *running) said() string {
	r.c.Helper()
	text, err := os.ReadFile(r.Stderr.(*os.File).Name())
	if err != nil {
		r.c.Fatal(err)
	}
	return string(text)
}

// wants requires the end of the command, with this code and these words.
func (r *running) wants(code int, stderr string) {
	r.c.Helper()
	select {
	case <-r.ended:
	case <-time.After(90 * time.Second):
		r.c.Fatalf("%v does not end; running: %v", r.Args, r.c.processes())
	}
	if got := r.ProcessState.ExitCode(); got != code {
		r.c.Errorf("%v ended with %d, want %d", r.Args, got, code)
	}
	if said, _, _ := strings.Cut(r.said(), "hint: "); said != stderr { // whatever is to be done
		r.c.Errorf("%v said %q, want %q", r.Args, said, stderr)
	}
}

// A stop ends a start: that one says so, and nothing is left that would hinder the next.
func TestStopDuringStart(t *testing.T) {
	t.Parallel()
	c := newHeldCluster(t)
	c.allow("end")
	start := c.begin("cluster", "start")
	c.awaitNode(1, cluster.StateStarting)
	c.begin("cluster", "stop").wants(0, "erlmcp: cluster stopped\n")
	start.wants(1, "erlmcp: the cluster was stopped before its nodes were ready\n")
	c.nothingIsLeft()

	// Nor does one that only starts what is missing bring the cluster back.
	c.allow("go")
	c.must("cluster", "start", "a")
	c.forbid("go")
	start = c.begin("cluster", "start")
	c.awaitNode(1, cluster.StateStarting)
	c.begin("cluster", "stop").wants(0, "erlmcp: cluster stopped\n")
	start.wants(1, "erlmcp: the cluster was stopped before its nodes were ready\n")
	c.nothingIsLeft()

	// One node stopped while all start: the start fails, and what it had started is gone.
	start = c.begin("cluster", "start")
	c.awaitNode(1, cluster.StateStarting)
	c.begin("cluster", "stop", "b").wants(0, "erlmcp: stopped b\n")
	start.wants(1, "erlmcp: b was stopped before it was ready\n")
	c.nothingIsLeft()

	start = c.begin("up")
	c.awaitNode(1, cluster.StateStarting)
	c.begin("down").wants(0, "erlmcp: lb is not running\nerlmcp: cluster stopped\n")
	start.wants(1, "erlmcp: the cluster was stopped before its nodes were ready\n")
	c.nothingIsLeft()

	c.allow("go")
	c.must("cluster", "start")
	c.must("cluster", "stop")
	c.nothingIsLeft()
}

// A start waits for the end of what is being stopped.
func TestStartDuringStop(t *testing.T) {
	t.Parallel()
	c := newHeldCluster(t)
	c.allow("go")
	c.must("cluster", "start")
	before := c.status()
	stop := c.begin("cluster", "stop")
	c.awaitPhase(cluster.PhaseStopping)
	start := c.begin("cluster", "start")
	c.await("a note", func() bool {
		return start.said() == "erlmcp: note: the cluster is being stopped; it is started when that is done\n"
	})
	c.allow("end")
	stop.wants(0, "erlmcp: cluster stopped\n")
	<-start.ended
	if said := start.said(); !start.ProcessState.Success() || !strings.Contains(said, "\nerlmcp: started a, b in ") {
		t.Errorf("start: %v, %q", start.ProcessState, said)
	}
	after := c.status()
	if after.PID == before.PID || !after.Healthy() {
		t.Errorf("status is %+v, was %+v", after, before)
	}
	c.must("cluster", "stop")
	c.nothingIsLeft()
}

// Ctrl-C during a start takes down what was started, a second one leaves that to the supervisor.
func TestInterruptDuringStart(t *testing.T) {
	t.Parallel()
	c := newHeldCluster(t)
	c.allow("end")
	for _, command := range [][]string{{"cluster", "start"}, {"up"}} {
		start := c.begin(command...)
		c.awaitNode(1, cluster.StateStarting)
		c.signal(start, syscall.SIGINT)
		start.wants(130, "")
		c.nothingIsLeft()
	}

	// A service manager's order to end is no failure.
	service := c.begin("cluster", "supervise")
	c.awaitNode(1, cluster.StateStarting)
	c.signal(service, syscall.SIGTERM)
	<-service.ended
	if code := service.ProcessState.ExitCode(); code != 143 || strings.Contains(service.said(), "erlmcp: ") {
		t.Errorf("the supervisor ended with %d: %s", code, service.said())
	}
	c.nothingIsLeft()

	c.allow("go")
	c.must("cluster", "start", "a")
	c.forbid("go")
	start := c.begin("cluster", "start")
	c.awaitNode(1, cluster.StateStarting)
	c.signal(start, syscall.SIGINT)
	start.wants(130, "")
	c.awaitNode(1, cluster.StateStopped)
	c.awaitNode(0, cluster.StateReady) // another start's
	c.must("cluster", "stop")

	c.forbid("end")
	start = c.begin("cluster", "start")
	c.awaitNode(1, cluster.StateStarting)
	c.signal(start, syscall.SIGINT)
	c.awaitPhase(cluster.PhaseStopping)
	c.signal(start, syscall.SIGINT)
	start.wants(130, "erlmcp: interrupted again, leaving at once\n")
	if s := c.status(); s.State != cluster.PhaseStopping {
		t.Errorf("the supervisor is %+v", s)
	}
	c.allow("end")
	c.nothingIsLeft()
}

// Nodes that do not end when they are told to are killed with their children, each in its time, also after
// Ctrl-C.
func TestInterruptDuringStartOfDeafNodes(t *testing.T) {
	t.Parallel()
	c := newHeldCluster(t)
	start := c.begin("cluster", "start")
	c.awaitNode(1, cluster.StateStarting)
	for _, name := range []string{"a", "b"} {
		c.await(name+" to be deaf", func() bool {
			_, err := os.Stat(filepath.Join(c.dir, "deaf."+name))
			return err == nil
		})
	}
	c.signal(start, syscall.SIGINT)
	start.wants(130, "")
	c.nothingIsLeft()
	text, err := os.ReadFile(cluster.SupervisorLog(c.dir))
	if n := bytes.Count(text, []byte("did not end within 15s and was killed")); err != nil || n != 2 {
		t.Errorf("%d of 2 nodes were killed by the supervisor: %v", n, err)
	}
}

func (c heldCluster) signal(r *running, s syscall.Signal) {
	c.Helper()
	if err := r.Process.Signal(s); err != nil {
		c.Fatal(fmt.Errorf("%v: %w", r.Args, err))
	}
}
