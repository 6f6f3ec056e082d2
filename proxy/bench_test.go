package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/charmbracelet/log"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

func init() {
	benchRoles["worker"] = benchWorker
}

// BenchmarkRelay relays small messages through this balancer's worker and,
// where they are installed, through HAProxy and nginx: one event loop each,
// sticky and rate-tracked by source, in interleaved rounds of one run, each
// round with a fresh process.
//
//	go test ./proxy -run '^$' -bench Relay -benchtime 5x
//
// It prints the medians of messages/s, CPU of the balancer a message, and what
// an idle connection adds to its resident memory. CPU and memory are the
// figures to compare: clients and node run on the same machine and take most
// of its time.
func BenchmarkRelay(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
	const clients, messages, idle = 64, 40_000, 4_000
	node := startNode(b, "", func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	engines := []*engine{erlmcpEngine(b, node.address())}
	for _, find := range []func(testing.TB, string) *engine{haproxyEngine, nginxEngine} {
		if e := find(b, node.address()); e != nil {
			engines = append(engines, e)
		}
	}
	for b.Loop() {
		for _, e := range engines {
			e.start(b)
			e.hold(b, idle)
			e.relay(b, clients, messages)
			e.stop()
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nengine\tmessages/s\tCPU/message\tmemory/idle connection")
	for _, e := range engines {
		rate, cpu, memory := median(e.rates), median(e.cpus), median(e.memories)
		fmt.Fprintf(table, "%s\t%.0f\t%.2f µs\t%.2f KiB\n", e.name, rate, cpu*1e6, memory/1024)
		b.ReportMetric(cpu*1e6, e.name+"-µs/msg")
		b.ReportMetric(memory, e.name+"-B/idle")
	}
	if err := table.Flush(); err != nil {
		b.Error(err)
	}
	b.ReportMetric(0, "ns/op") // a round is all engines together: its time says nothing
}

// engine is a balancer under measurement.
type engine struct {
	name    string
	address string
	command func() *exec.Cmd
	cookies bool // whether it sets them
	secure  bool // over TLS

	process *exec.Cmd // of this round

	rates, cpus, memories []float64 // one a round
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// relay has clients exchange messages in turn and records rate and CPU.
func (e *engine) relay(t testing.TB, clients, messages int) {
	conns := e.connect(t, clients)
	before, start := e.cpu(t), time.Now()
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			message := []byte(`{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}` + "\n")
			reply := make([]byte, len(message))
			for range messages / clients {
				if _, err := c.Write(message); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.ReadFull(c, reply); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	e.rates = append(e.rates, float64(messages)/took.Seconds())
	e.cpus = append(e.cpus, (e.cpu(t)-before).Seconds()/float64(messages))
	for _, c := range conns {
		c.Close()
	}
}

// hold has idle connections that have spoken once and records what they add.
func (e *engine) hold(t testing.TB, n int) {
	before := e.rss(t)
	conns := e.connect(t, n)
	e.memories = append(e.memories, float64(e.rss(t)-before)/float64(n))
	for _, c := range conns {
		c.Close()
	}
}

// connect opens n connections and has an answer over each.
func (e *engine) connect(t testing.TB, n int) []net.Conn {
	conns := make([]net.Conn, n)
	for i := range conns {
		// A hundred to a source, as the limits of a balancer allow.
		from := &net.TCPAddr{IP: net.IPv4(127, 3, byte(i/100), 1)}
		c, err := (&net.Dialer{LocalAddr: from}).Dial("tcp4", e.address)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		if _, err := io.WriteString(c, "x\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Fatalf("%s: connection %d: %v", e.name, i, err)
		}
		conns[i] = c
	}
	return conns
}

// cpu is the time the process and its children have used.
func (e *engine) cpu(t testing.TB) time.Duration {
	pid := strconv.Itoa(e.process.Process.Pid)
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	ticks, found := 0, false
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // somebody else's, and gone
		}
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
		own := filepath.Base(filepath.Dir(file)) == pid
		if parent := fields[1]; !own && parent != pid {
			continue
		}
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		ticks, found = ticks+user+system, found || own
	}
	if !found {
		t.Fatalf("%s has ended", e.name)
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
}

func (e *engine) rss(t testing.TB) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", e.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(data))[1])
	return pages * os.Getpagesize()
}

// freeAddress is a loopback address nobody listens on right now.
func freeAddress(t testing.TB) string {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// start runs the engine and waits until it listens.
func (e *engine) start(t testing.TB) {
	e.process = e.command()
	e.process.Stderr = os.Stderr
	if err := e.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.stop)
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.Dial("tcp4", e.address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v", e.name, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stop ends the process of this round, if there still is one. It is asked first, so that it can end
// its children.
func (e *engine) stop() {
	if e.process == nil {
		return
	}
	process := e.process.Process
	_ = process.Signal(syscall.SIGTERM)
	impatient := time.AfterFunc(5*time.Second, func() { _ = process.Kill() })
	_ = e.process.Wait()
	impatient.Stop()
	e.process = nil
}

// benchRole names a role of benchRoles and its arguments, separated by spaces.
const benchRole = "ERLMCP_TEST_BENCH_ROLE"

// benchRoles are the processes that tests start: this test binary again.
var benchRoles = make(map[string]func(args []string) error)

// playRole makes the command of a role.
func playRole(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchRole+"="+role+" "+strings.Join(args, " "))
	return cmd
}

// erlmcpEngine is one worker in a process of its own.
func erlmcpEngine(t testing.TB, node string) *engine {
	address := freeAddress(t)
	return &engine{name: "erlmcp", address: address, command: func() *exec.Cmd {
		return playRole("worker", address, node)
	}}
}

// benchWorker is the role of that process.
func benchWorker(args []string) error {
	address, node := args[0], args[1]
	spec := Default()
	shared, err := board.Create(board.Layout{Workers: 1, Sources: spec.SourceTable})
	if err != nil {
		return err
	}
	spec.Limits.MessagesPerSecond = 1_000_000 // tracked, never reached
	spec.Limits.ConnectionsPerSecond = 1_000_000
	up(shared, 0)
	at := netip.MustParseAddrPort(node)
	ln, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w, err := newWorker(WorkerSpec{
		Spec:           spec,
		Nodes:          []NodeSlot{{Node: topology.Node{Name: "n", TCP: int(at.Port())}, Addr: at.Addr()}},
		MaxConnections: 9_000,
		Key:            make([]byte, affinity.MinKey),
	}, shared, map[string]int{fileTCP: fd}, prefork.Open, deaf{}, log.New(io.Discard))
	if err != nil {
		return err
	}
	return w.loop.Run()
}

// deaf is a master that does not listen.
type deaf struct{}

func (deaf) Send(string, any) error { return nil }

func haproxyEngine(t testing.TB, node string) *engine {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		t.Log("haproxy is not installed: left out")
		return nil
	}
	address := freeAddress(t)
	config := write(t, "haproxy.cfg", `global
  nbthread 1
  maxconn 9000
defaults
  mode tcp
  timeout connect 5s
  timeout client 300s
  timeout server 300s
frontend clients
  bind `+address+`
  stick-table type ip size 128k expire 30m store conn_rate(1s),conn_cur
  tcp-request connection track-sc0 src
  default_backend nodes
backend nodes
  balance leastconn
  stick-table type ip size 128k expire 30m
  stick on src
  server n1 `+node+`
`)
	return &engine{name: "haproxy", address: address, command: func() *exec.Cmd { return exec.Command(path, "-db", "-f", config) }}
}

func nginxEngine(t testing.TB, node string) *engine {
	path, err := exec.LookPath("nginx")
	if err != nil {
		t.Log("nginx is not installed: left out")
		return nil
	}
	const module = "/usr/lib/nginx/modules/ngx_stream_module.so"
	load := ""
	if _, err := os.Stat(module); err == nil {
		load = "load_module " + module + ";\n"
	}
	address := freeAddress(t)
	dir := t.TempDir()
	text := load + `daemon off;
master_process off;
pid ` + dir + `/nginx.pid;
error_log stderr crit;
events { worker_connections 18500; }
stream {
  limit_conn_zone $binary_remote_addr zone=sources:10m;
  upstream nodes { hash $remote_addr consistent; server ` + node + `; }
  server {
    listen ` + address + `;
    limit_conn sources 10000;
    proxy_pass nodes;
    proxy_timeout 300s;
  }
}
`
	config := write(t, "nginx.conf", text)
	if out, err := exec.Command(path, "-t", "-p", dir, "-c", config).CombinedOutput(); err != nil {
		t.Logf("nginx cannot balance TCP: left out: %s", out)
		return nil
	}
	return &engine{name: "nginx", address: address, command: func() *exec.Cmd { return exec.Command(path, "-p", dir, "-c", config) }}
}

func write(t testing.TB, name, text string) string {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// BenchmarkMessage is one message through the worker and back, in one process:
// for profiles.
func BenchmarkMessage(b *testing.B) {
	n := startNode(b, "", func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	w := startWorker(b, []string{n.address()}, func(s *Spec) { s.Limits.MessagesPerSecond = 1_000_000 })
	c := w.dial("")
	_ = c.SetDeadline(time.Time{})
	r := bufio.NewReader(c)
	message := []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := r.ReadSlice('\n'); err != nil {
			b.Fatal(err)
		}
	}
}
