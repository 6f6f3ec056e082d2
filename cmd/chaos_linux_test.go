package cmd

import (
	"bytes"
	"context"
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
	lb   *proxy.Client
	addr string
}

// TestChaos kills any process of a system at any moment, again and again: the next "up" must work at
// once, connections through other workers live on, and "down" leaves nothing.
//
//	go test ./cmd -run TestChaos -v -timeout 1h -chaos.rounds 200 -chaos.seed 42
func TestChaos(t *testing.T) {
	t.Logf("seed %d", *chaosSeed)
	c := newChaos(t, *chaosSeed)
	for round := range *chaosRounds {
		c.must("up")
		c.round(round)
		if c.rand.IntN(3) == 0 {
			c.must("down")
			c.nothingIsLeft()
		}
	}
	c.must("down")
	c.nothingIsLeft()
}

func newChaos(t *testing.T, seed uint64) *chaos {
	dir, err := os.MkdirTemp("", "erlmcp")
	if err != nil {
		t.Fatal(err)
	}
	c := &chaos{T: t, rand: rand.New(rand.NewPCG(seed, 0)), mark: chaosMark + "=" + dir, lb: proxy.Connect(dir)}
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
		"ERLMCP_LB_LISTEN_HTTP=", "ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=", "ERLMCP_LB_WORKERS=3", "ERLMCP_LB_MAX_CONNECTIONS=2000")
	return c
}

// round kills one process, maybe in the middle of a load test, and repairs the damage.
func (c *chaos) round(n int) {
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
	time.Sleep(time.Duration(c.rand.IntN(1500)) * time.Millisecond) // any moment will do
	all := c.processes()
	victim := all[c.rand.IntN(len(all))]
	held := c.heldBy(victim.pid)
	c.Logf("round %d: kill %s", n, victim)
	if err := syscall.Kill(victim.pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		c.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(90 * time.Second):
		c.Fatalf("the load test does not end after the end of %s", victim)
	}
	c.must("up")
	c.await("health", func() bool { return c.command("health").Run() == nil })
	if lost := dead(clients); victim.harmless() && lost > held {
		c.Errorf("round %d: the end of %s, with %d connections, ended %d", n, victim, held, lost)
	}
	for _, client := range clients {
		client.Close()
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
		c.Fatalf("%d of %d clients are not served", lost, n)
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
		c.Fatal(err)
	}
	for _, w := range s.Workers {
		if w.PID == pid {
			return int(w.Active)
		}
	}
	return 0
}

// nothingIsLeft requires that no process remains.
func (c *chaos) nothingIsLeft() {
	c.Helper()
	c.await("the end of all processes", func() bool { return len(c.processes()) == 0 })
}

func (c *chaos) await(what string, so func() bool) {
	c.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatalf("waited in vain for %s; running: %v", what, c.processes())
		}
	}
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
		c.Fatalf("erlmcp %s: %v: %s; running: %v", strings.Join(args, " "), err, out, c.processes())
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
