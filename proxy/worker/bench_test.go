package worker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/charmbracelet/log"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hubtest"
)

func init() {
	proxytest.Roles["worker"] = benchWorker
}

// BenchmarkRelay relays small messages through this balancer's worker and,
// where they are installed, through HAProxy and nginx: one event loop each,
// sticky and rate-tracked by source, in interleaved rounds of one run, each
// round with a fresh process.
//
//	go test ./proxy/worker -run '^$' -bench Relay -benchtime 5x
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
	node := proxytest.StartNode(b, "", func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	engines := []*proxytest.Engine{erlmcpEngine(b, node.Address())}
	for _, find := range []func(testing.TB, string) *proxytest.Engine{haproxyEngine, nginxEngine} {
		if e := find(b, node.Address()); e.Command != nil {
			engines = append(engines, e)
		}
	}
	for b.Loop() {
		for _, e := range engines {
			e.Start(b)
			e.Hold(b, idle)
			e.Relay(b, clients, messages)
			e.Stop()
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nengine\tmessages/s\tCPU/message\tmemory/idle connection")
	for _, e := range engines {
		rate, cpu, memory := proxytest.Median(e.Rates), proxytest.Median(e.CPUs), proxytest.Median(e.Memories)
		fmt.Fprintf(table, "%s\t%.0f\t%.2f µs\t%.2f KiB\n", e.Name, rate, cpu*1e6, memory/1024)
		b.ReportMetric(cpu*1e6, e.Name+"-µs/msg")
		b.ReportMetric(memory, e.Name+"-B/idle")
	}
	if err := table.Flush(); err != nil {
		b.Error(err)
	}
	b.ReportMetric(0, "ns/op") // a round is all engines together: its time says nothing
}

// erlmcpEngine is one worker in a process of its own.
func erlmcpEngine(t testing.TB, node string) *proxytest.Engine {
	address := proxytest.FreeAddress(t)
	return &proxytest.Engine{Name: "erlmcp", Address: address, Command: func() *exec.Cmd {
		return proxytest.PlayRole("worker", address, node)
	}}
}

// benchWorker is the role of that process.
func benchWorker(args []string) error {
	address, node := args[0], args[1]
	spec := proxy.Default()
	shared, err := board.Create(board.Layout{Workers: 1, Sources: spec.SourceTable})
	if err != nil {
		return err
	}
	spec.Limits.MessagesPerSecond = 1_000_000 // tracked, never reached
	spec.Limits.ConnectionsPerSecond = 1_000_000
	proxytest.MarkUp(shared, 0)
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
	w, err := newWorker(wire.WorkerSpec{
		Spec:           spec,
		Nodes:          []wire.NodeSlot{{Node: topology.Node{Name: "n", TCP: int(at.Port())}, Addr: at.Addr()}},
		MaxConnections: 9_000,
		Key:            make([]byte, affinity.MinKey),
	}, shared, map[string]int{proxy.ListenTCP: fd}, prefork.Open, hubtest.DeafMaster{}, log.New(io.Discard))
	if err != nil {
		return err
	}
	return w.Loop.Run()
}

func haproxyEngine(t testing.TB, node string) *proxytest.Engine {
	address := proxytest.FreeAddress(t)
	command := proxytest.HAProxy(t, `global
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
	return &proxytest.Engine{Name: "haproxy", Address: address, Command: command}
}

func nginxEngine(t testing.TB, node string) *proxytest.Engine {
	address := proxytest.FreeAddress(t)
	command := proxytest.NginxStream(t, `daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 18500; }
stream {
  limit_conn_zone $binary_remote_addr zone=sources:10m;
  upstream nodes { hash $remote_addr consistent; server `+node+`; }
  server {
    listen `+address+`;
    limit_conn sources 10000;
    proxy_pass nodes;
    proxy_timeout 300s;
  }
}
`)
	return &proxytest.Engine{Name: "nginx", Address: address, Command: command}
}

// BenchmarkMessage is one message through the worker and back, in one process:
// for profiles.
func BenchmarkMessage(b *testing.B) {
	n := proxytest.StartNode(b, "", func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	w := startWorker(b, []string{n.Address()}, func(s *proxy.Spec) { s.Limits.MessagesPerSecond = 1_000_000 })
	c := w.Dial("")
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
