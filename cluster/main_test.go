package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/log"
	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/freeport"
	"github.com/erlmcp/erlmcp/internal/guardtest"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/internal/waittest"
)

// behaviourEnv says how nodes of that name behave when this binary plays them:
// "erlmcp2=crash,erlmcp3=deaf".
const behaviourEnv = "CLUSTER_TEST_BEHAVIOUR"

// TestMain lets the test binary play all roles of the real one.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] + " " + os.Args[2] {
		case "cluster supervise":
			os.Exit(playSupervisor(os.Args[3:]))
		case "node serve":
			os.Exit(playNode(os.Args[3:]))
		case "node worker":
			playWorker(os.Args[3])
		case "node fork":
			os.Exit(playFork(os.Args[3]))
		}
	}
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}

func playSupervisor(args []string) int {
	flags := flag.NewFlagSet("supervise", flag.ExitOnError)
	flags.Bool("spec-from-stdin", true, "")
	dir := flags.String("state-dir", "", "")
	_ = flags.Parse(args)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	spec, err := ReadSpec(os.Stdin)
	if err == nil {
		err = Supervise(ctx, spec, SupervisorOptions{StateDir: *dir, Names: flags.Args(), Log: log.New(os.Stderr)})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// playNode is a node in few lines: it answers every line of JSON-RPC with an empty result.
func playNode(args []string) int {
	flags := flag.NewFlagSet("node", flag.ExitOnError)
	var n topology.Node
	flags.StringVar(&n.Name, "name", "", "")
	flags.StringVar(&n.Host, "host", "", "")
	flags.IntVar(&n.TCP, "tcp", 0, "")
	flags.IntVar(&n.HTTP, "http", 0, "")
	flags.IntVar(&n.SSE, "sse", 0, "")
	flags.Int("max-connections", 0, "")
	_ = flags.Parse(args)

	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	switch behaviour := behaviourOf(n.Name); behaviour {
	case "crash":
		for i := range 3 {
			fmt.Fprintln(os.Stderr, "last words", i)
		}
		return 3
	case "mute":
		for _, p := range n.Ports() {
			listen(p.Address, func(net.Conn) {})
		}
	default:
		for _, p := range n.Ports() {
			listen(p.Address, answerLines)
		}
		switch behaviour {
		case "family": // a descendant that ignores SIGTERM and holds a port
			child := exec.Command("/proc/self/exe", "node", "worker", "127.0.0.1:"+os.Getenv("CLUSTER_TEST_CHILD_PORT"))
			child.Stdout = os.Stdout
			_ = child.Start()
		case "escape": // the same in a session of its own
			child := exec.Command("/proc/self/exe", "node", "worker", "127.0.0.1:"+os.Getenv("CLUSTER_TEST_CHILD_PORT"))
			child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			_ = child.Start()
		case "fork", "hide": // the same from a child that ends, and "hide" without its environment
			child := exec.Command("/proc/self/exe", "node", "fork", "127.0.0.1:"+os.Getenv("CLUSTER_TEST_CHILD_PORT"))
			if behaviour == "hide" {
				child.Env = []string{}
			}
			_ = child.Run()
		case "flood":
			go func() {
				for i := 0; ; i++ {
					fmt.Println("flood", i)
				}
			}()
		case "deaf":
			term = nil
		case "environment":
			dir, _ := os.Getwd()
			fmt.Println(os.Getenv("ERLMCP_NODE"), "on", os.Getenv("ERLMCP_HOST"), os.Getenv("ERLMCP_TCP_PORT"),
				os.Getenv("ERLMCP_HTTP_PORT"), os.Getenv("ERLMCP_SSE_PORT"), "in", dir)
		}
	}
	fmt.Println(n.Name, "serves")
	<-term
	fmt.Println(n.Name, "ends")
	return 0
}

// playFork leaves a worker in a session of its own behind.
func playFork(address string) int {
	child := exec.Command("/proc/self/exe", "node", "worker", address)
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return 1
	}
	return 0
}

func playWorker(address string) {
	signal.Ignore(syscall.SIGTERM)
	listen(address, answerLines)
	fmt.Println("worker serves")
	select {}
}

func behaviourOf(node string) string {
	for _, entry := range strings.Split(os.Getenv(behaviourEnv), ",") {
		if name, behaviour, _ := strings.Cut(entry, "="); name == node {
			return behaviour
		}
	}
	return ""
}

func listen(address string, serve func(net.Conn)) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
}

func answerLines(c net.Conn) {
	defer c.Close()
	for in := bufio.NewScanner(c); in.Scan(); {
		var request struct {
			ID json.RawMessage `json:"id"`
		}
		if json.Unmarshal(in.Bytes(), &request) != nil {
			return
		}
		fmt.Fprintf(c, `{"jsonrpc":"2.0","id":%s,"result":{}}`+"\n", request.ID)
	}
}

const patience = time.Minute

// eventually waits until done is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	waittest.Until(t, patience, what, done)
}

// freePorts returns ports of the loopback address that nobody listens on.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports, err := freeport.Find(n)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

// testSpec is a cluster of n nodes on free ports.
func testSpec(t *testing.T, n int) Spec {
	t.Helper()
	s := Default()
	s.Nodes = topology.Default(n)
	ports := freePorts(t, 3*n)
	for i := range s.Nodes {
		s.Nodes[i].TCP, s.Nodes[i].HTTP, s.Nodes[i].SSE = ports[3*i], ports[3*i+1], ports[3*i+2]
	}
	return s
}

// shortDir is a directory with a path short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cluster")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// answers reports whether an MCP server answers there.
func answers(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprintln(c, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.Contains(line, `"id":1`)
}

func listens(port int) bool {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(port), time.Second)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return syscall.Kill(pid, 0) == nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}
