package cmd

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
)

var (
	chaosRounds = flag.Int("chaos.rounds", 6, "processes to kill in TestChaos")
	chaosSeed   = flag.Uint64("chaos.seed", uint64(time.Now().UnixNano()), "of TestChaos")
)

// chaosMark is the variable by which everything a test has started is found again.
const chaosMark = "ERLMCP_TEST_CHAOS"

// chaos is a system in which processes die.
type chaos struct {
	*testing.T
	rand *rand.Rand
	env  []string
	mark string
	dir  string // of its state
	lb   *proxy.Client
	addr string

	where string // for messages
}

// TestChaos kills or freezes any process of a system at any moment, also while it starts or stops, or removes the
// sockets or the whole state directory from under it, again and again: the next "up" must work at once, connections
// through other workers live on, nothing runs twice, and "down" leaves nothing.
//
//	go test ./cmd -run TestChaos -v -timeout 1h -chaos.rounds 200 -chaos.seed 42
func TestChaos(t *testing.T) {
	t.Logf("seed %d", *chaosSeed)
	c := newChaos(t, *chaosSeed)
	for round := range *chaosRounds {
		c.where = fmt.Sprintf("round %d", round)
		switch c.rand.IntN(5) {
		case 0:
			c.must("down")
			c.nothingIsLeft()
			c.strikeDuring("up", 300*time.Millisecond)
		case 1:
			c.must("up")
			c.strikeDuring("down", 200*time.Millisecond)
		default:
			c.must("up")
			c.strikeUnderLoad()
		}
		c.statesAreTrue()
		c.foundAgain()
		c.must("up")
		c.await("health", func() bool { return c.command("health").Run() == nil })
		c.nothingTwice()
		c.statesAreTrue()
	}
	c.must("down")
	c.nothingIsLeft()
}

func newChaos(t *testing.T, seed uint64) *chaos {
	dir, err := os.MkdirTemp("", "erlmcp")
	if err != nil {
		t.Fatal(err)
	}
	c := &chaos{T: t, rand: rand.New(rand.NewPCG(seed, 0)), mark: chaosMark + "=" + dir, dir: dir, lb: proxy.Connect(dir)}
	t.Cleanup(func() {
		for _, p := range c.processes() {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		if t.Failed() {
			for _, name := range []string{"lb.log", "cluster.log"} {
				text, _ := os.ReadFile(filepath.Join(dir, name))
				t.Logf("%s:\n%s", name, text)
			}
		}
		_ = os.RemoveAll(dir)
	})
	ports := freePorts(t, 7)
	c.addr = "127.0.0.1:" + ports[6]
	var nodes []string
	for i, name := range []string{"a", "b"} {
		nodes = append(nodes, fmt.Sprintf("{name: %s, host: 127.0.0.1, tcp: %s, http: %s, sse: %s}", name, ports[3*i], ports[3*i+1], ports[3*i+2]))
	}
	c.env = append(os.Environ(), c.mark, "ERLMCP_STATE_DIR="+dir, "XDG_CONFIG_HOME="+dir,
		"ERLMCP_CLUSTER_NODES=["+strings.Join(nodes, ", ")+"]", "ERLMCP_LB_LISTEN_TCP="+c.addr,
		"ERLMCP_LB_LISTEN_HTTP=", "ERLMCP_LB_LISTEN_HTTP=", "ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=", "ERLMCP_LB_WORKERS=3", "ERLMCP_LB_MAX_CONNECTIONS=2000")
	return c
}

// strikeUnderLoad strikes while clients are served, maybe in the middle of a load test.
func (c *chaos) strikeUnderLoad() {
	c.Helper()
	clients := c.connect(30)
	load, ended := c.command("loadtest", "300", "2", "--target", c.addr, "--failover", "none", "--agents", "2"), make(chan struct{})
	if loaded := c.rand.IntN(2) == 0; loaded {
		if err := load.Start(); err != nil {
			c.Fatal(err)
		}
		go func() {
			_ = load.Wait() // it may be its own process that dies
			close(ended)
		}()
	} else {
		close(ended)
	}
	time.Sleep(c.within(1500 * time.Millisecond)) // any moment is the right one
	victim, held := c.strike(true)
	select {
	case <-ended:
	case <-time.After(90 * time.Second):
		c.Fatalf("%s: the load test does not end after %s was struck", c.where, victim)
	}
	c.foundAgain()
	c.must("up")
	c.await("health", func() bool { return c.command("health").Run() == nil })
	if lost := dead(clients); victim.harmless() && lost > held {
		c.Errorf("%s: the end of %s, with %d connections, ended %d", c.where, victim, held, lost)
	}
	for _, client := range clients {
		client.Close()
	}
}

// strikeDuring strikes while a command is at work.
func (c *chaos) strikeDuring(command string, most time.Duration) {
	c.Helper()
	cmd := c.command(command)
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	time.Sleep(c.within(most)) // any moment is the right one
	c.strike(false)
	_ = cmd.Wait() // it may have failed, or be the victim
}

// within is any moment of a span of time.
func (c *chaos) within(most time.Duration) time.Duration {
	return time.Duration(c.rand.Int64N(int64(most)))
}

// removal is what stands for a victim when files are struck: nobody loses a connection.
var removal = chaosProcess{args: "lb worker"}

// strike kills a process, or freezes it for a moment, and returns how many connections it had if it is a
// worker of the balancer. Or it removes sockets, and from a settled system, where no command makes another one at the
// same time, the state directory.
func (c *chaos) strike(settled bool) (victim chaosProcess, held int) {
	c.Helper()
	switch c.rand.IntN(8) {
	case 0:
		sockets, _ := filepath.Glob(filepath.Join(c.dir, "*.sock"))
		c.Logf("%s: remove %s", c.where, sockets)
		for _, socket := range sockets {
			_ = os.Remove(socket) // it may be gone by now
		}
		return removal, 0
	case 1:
		if settled {
			c.Logf("%s: remove the state directory", c.where)
			if err := os.RemoveAll(c.dir); err != nil {
				c.Fatal(err)
			}
			return removal, 0
		}
	}
	all := c.processes()
	if len(all) == 0 {
		return victim, 0
	}
	victim = all[c.rand.IntN(len(all))]
	held = c.heldBy(victim.pid)
	if c.rand.IntN(4) == 0 {
		c.Logf("%s: freeze %s", c.where, victim)
		_ = syscall.Kill(victim.pid, syscall.SIGSTOP) // fails when it has just ended
		time.Sleep(c.within(time.Second))             // it lasts
		_ = syscall.Kill(victim.pid, syscall.SIGCONT)
		return victim, held
	}
	c.Logf("%s: kill %s", c.where, victim)
	_ = syscall.Kill(victim.pid, syscall.SIGKILL)
	return victim, held
}

// foundAgain returns when each daemon that lives can be found by its files.
func (c *chaos) foundAgain() {
	c.Helper()
	for name, role := range map[string]string{"lb": "lb serve", "cluster": "cluster supervise"} {
		c.await("the files of "+name, func() bool {
			if len(c.pids(role)) == 0 {
				return true
			}
			_, running, err := control.Running(c.dir, name)
			_, missing := os.Stat(filepath.Join(c.dir, name+".sock"))
			return err == nil && running && missing == nil
		})
	}
}

// connect has clients served.
func (c *chaos) connect(n int) []net.Conn {
	c.Helper()
	clients := make([]net.Conn, n)
	for i := range clients {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			c.Fatal(err)
		}
		clients[i] = conn
	}
	if lost := dead(clients); lost > 0 {
		c.Fatalf("%s: %d of %d clients are not served", c.where, lost, n)
	}
	return clients
}

// dead counts the clients who get no answer.
func dead(clients []net.Conn) (n int) {
	for _, c := range clients {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // fails on a dead one only
		_, err := io.WriteString(c, `{"jsonrpc":"2.0","id":1,"method":"ping"}`+"\n")
		if err == nil {
			_, err = c.Read(make([]byte, 1024))
		}
		if err != nil {
			n++
		}
	}
	return n
}

// heldBy is how many clients a worker of the balancer has; 0 for all other processes.
func (c *chaos) heldBy(pid int) int {
	s, err := c.lb.Stats(c.Context())
	if err != nil {
		return 0 // it does not run just now
	}
	for _, w := range s.Workers {
		if w.PID == pid {
			return int(w.Active)
		}
	}
	return 0
}

// nothingTwice requires that there is one of each process of which there must be one.
func (c *chaos) nothingTwice() {
	c.Helper()
	all := c.processes()
	for _, role := range []string{"cluster supervise", "lb serve", "node serve --name a ", "node serve --name b "} {
		n := 0
		for _, p := range all {
			if strings.Contains(p.args+" ", role) {
				n++
			}
		}
		if n != 1 {
			c.Fatalf("%s: %d processes %q: %v", c.where, n, role, all)
		}
	}
}

// nothingIsLeft requires that no process remains.
func (c *chaos) nothingIsLeft() {
	c.Helper()
	c.await("the end of all processes", func() bool { return len(c.processes()) == 0 })
	for _, name := range []string{"cluster", "lb"} {
		if pid, running, err := control.Running(c.dir, name); err != nil || running {
			c.Fatalf("%s: the lock of %s is held, by pid %d, though nothing runs", c.where, name, pid)
		}
	}
}

// statesAreTrue requires that what the supervisor says of itself and of its nodes becomes what the
// kernel says of them. There may be no supervisor.
func (c *chaos) statesAreTrue() {
	c.Helper()
	waittest.For(c, time.Minute, c.where+": the status is true", func() (lie string, isTrue bool) {
		s, err := cluster.Connect(c.dir).Status(c.Context())
		all := c.processes()
		switch {
		case errors.Is(err, control.ErrNotRunning):
			isTrue = !slices.ContainsFunc(all, func(p chaosProcess) bool {
				return strings.Contains(p.args, "cluster supervise") || strings.Contains(p.args, "node serve")
			})
		case err == nil:
			isTrue = statusIsTrue(s, all)
		}
		return fmt.Sprintf("%+v, %v; running: %v", s, err, all), isTrue
	})
}

// statusIsTrue reports whether each node has the process that is said to be its own, and no other.
func statusIsTrue(s cluster.Status, all []chaosProcess) bool {
	if !slices.ContainsFunc(all, func(p chaosProcess) bool { return p.pid == s.PID && strings.Contains(p.args, "cluster supervise") }) {
		return false
	}
	for _, n := range s.Nodes {
		pids := []int{}
		for _, p := range all {
			if strings.Contains(p.args+" ", "node serve --name "+n.Name+" ") {
				pids = append(pids, p.pid)
			}
		}
		switch {
		case n.PID == 0 && len(pids) > 0, n.PID != 0 && !slices.Equal(pids, []int{n.PID}), n.State.Serves() && n.PID == 0:
			return false
		}
	}
	return true
}

func (c *chaos) await(what string, so func() bool) {
	c.Helper()
	waittest.For(c, time.Minute, c.where+": "+what, func() (running []chaosProcess, done bool) { return c.processes(), so() })
}

func (c *chaos) command(args ...string) *exec.Cmd {
	cmd := exec.Command("erlmcp", args...)
	cmd.Env = c.env
	return cmd
}

// must runs a command that has to succeed.
func (c *chaos) must(args ...string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "erlmcp", args...)
	cmd.Env = c.env
	if out, err := cmd.CombinedOutput(); err != nil {
		c.Fatalf("%s: erlmcp %s: %v: %s; running: %v", c.where, strings.Join(args, " "), err, out, c.processes())
	}
}

// chaosProcess is one process of the system.
type chaosProcess struct {
	pid  int
	args string
}

func (p chaosProcess) String() string { return fmt.Sprintf("%d (%s)", p.pid, p.args) }

// harmless processes are those whose end costs no client its connection, or only the clients of one
// worker. A supervisor takes its nodes along, and the balancer's first process its workers.
func (p chaosProcess) harmless() bool {
	return strings.Contains(p.args, "lb worker") || strings.Contains(p.args, "loadtest")
}

// processes are all that live, oldest first.
func (c *chaos) processes() (list []chaosProcess) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), c.mark) {
			continue
		}
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		pid, _ := strconv.Atoi(filepath.Base(dir))
		list = append(list, chaosProcess{pid, strings.TrimSpace(string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))})
	}
	slices.SortFunc(list, func(a, b chaosProcess) int { return a.pid - b.pid })
	return list
}
