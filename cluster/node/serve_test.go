package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/freeport"
	"github.com/erlmcp/erlmcp/internal/prefork"
)

// process is a node in processes of its own.
type process struct {
	*exec.Cmd
	t      *testing.T
	spec   Spec
	files  int          // that each process may open, 0 = as it is
	stderr bytes.Buffer // to be read once it has exited
	exited chan struct{}
	how    error // it has exited
}

func startNode(t *testing.T, tune func(*Spec)) *process {
	t.Helper()
	spec := Default()
	spec.Version = "test"
	ports, err := freeport.Find(3)
	must(t, err)
	spec.Node.TCP, spec.Node.HTTP, spec.Node.SSE = ports[0], ports[1], ports[2]
	if tune != nil {
		tune(&spec)
	}
	return &process{t: t, spec: spec, exited: make(chan struct{})}
}

// run starts the processes and waits until all ports answer.
func (p *process) run() *process {
	p.t.Helper()
	text, err := json.Marshal(p.spec)
	must(p.t, err)
	p.Cmd = exec.Command(os.Args[0], "node", "serve", string(text))
	p.Stderr, p.WaitDelay = &p.stderr, 10*time.Second // its workers hold it, too
	if p.files > 0 {
		p.Env = append(os.Environ(), fmt.Sprintf("%s=%d", filesVariable, p.files))
	}
	must(p.t, p.Start())
	go func() {
		defer close(p.exited)
		p.how = p.Wait()
	}()
	p.t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.exited
		if p.t.Failed() {
			p.t.Logf("the node said:\n%s", p.stderr.String())
		}
	})
	for _, port := range p.spec.Node.Ports() {
		waitFor(p.t, func() bool {
			c, err := net.Dial("tcp", port.Address)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
	return p
}

// wait returns how the node ended.
func (p *process) wait() error {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.how
	case <-time.After(time.Minute):
		p.t.Fatal("the node still runs")
		return nil
	}
}

func (p *process) health() (h Health) {
	p.t.Helper()
	status, body := ask(p.t, "GET", "http://"+p.spec.Node.HTTPAddress()+"/health", "")
	if status != http.StatusOK {
		p.t.Fatalf("health: %d %s", status, body)
	}
	must(p.t, json.Unmarshal([]byte(body), &h))
	return h
}

// workers lists the processes that the primary has started.
func (p *process) workers() (pids []int) {
	p.t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	must(p.t, err)
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (comm) state ppid …, and comm may hold anything
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if fields[0] != "Z" && fields[1] == strconv.Itoa(p.Process.Pid) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			must(p.t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

func needsProc(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc")
	}
}

func TestServeStopsGracefully(t *testing.T) {
	p := startNode(t, nil).run()
	c := dial(t, p.spec.Node.TCPAddress())
	c.initialize()
	c.send(sleep(1, 500) + ping(2))
	c.wants(pong(2))
	if h := p.health(); h.Connections != 1 || h.Node != "erlmcp1" || h.MaxConnections != p.spec.MaxConnections {
		t.Errorf("health: %+v", h)
	}
	must(t, p.Process.Signal(syscall.SIGTERM))
	c.wants(slept(1, 500))
	c.ends()
	must(t, c.Close())
	if err := p.wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestServeNeedsItsPorts(t *testing.T) {
	for _, transport := range []string{"tcp", "http", "sse"} {
		t.Run(transport, func(t *testing.T) {
			p := startNode(t, nil)
			ports := map[string]int{"tcp": p.spec.Node.TCP, "http": p.spec.Node.HTTP, "sse": p.spec.Node.SSE}
			addr := fmt.Sprintf("127.0.0.1:%d", ports[transport])
			l, err := net.Listen("tcp", addr)
			must(t, err)
			defer func() { _ = l.Close() }()
			err = Serve(t.Context(), p.spec, Options{Log: log.New(&p.stderr)})
			var taken *prefork.InUseError
			if !errors.As(err, &taken) || taken.Addr != addr || taken.PID != os.Getpid() {
				t.Errorf("got %v", err)
			}
			for other, port := range ports {
				if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); other != transport && err == nil {
					_ = c.Close()
					t.Errorf("%s is left listening", other)
				}
			}
		})
	}
}

func TestServeOneTransport(t *testing.T) {
	p := startNode(t, func(s *Spec) { s.Node.TCP, s.Node.SSE = 0, 0 }).run()
	if h := p.health(); h.Connections != 0 {
		t.Errorf("health: %+v", h)
	}
	must(t, p.Process.Signal(syscall.SIGTERM))
	if err := p.wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestDeadWorkerIsReplaced(t *testing.T) {
	needsProc(t)
	p := startNode(t, func(s *Spec) { s.MaxConnections = 60 })
	p.files = prefork.Reserve + 30
	p.run()
	var clients []*client
	for range 40 {
		c := dial(t, p.spec.Node.TCPAddress())
		c.initialize()
		clients = append(clients, c)
	}
	waitFor(t, func() bool { return len(p.workers()) >= 2 })
	before := p.workers()
	must(t, syscall.Kill(before[0], syscall.SIGKILL))
	survivors := 0
	for i, c := range clients {
		_, err := c.Write([]byte(ping(i)))
		if err == nil {
			if _, err = c.in.ReadString('\n'); err == nil {
				survivors++
			}
		}
	}
	if survivors == 0 || survivors == len(clients) {
		t.Errorf("of %d clients of two workers, %d survive the death of one", len(clients), survivors)
	}
	waitFor(t, func() bool { return len(p.workers()) == len(before) && p.health().Connections == int64(survivors) })
	for range 20 { // some of them come to the new worker
		c := dial(t, p.spec.Node.TCPAddress())
		c.initialize()
	}
}

func TestWorkersDieWithThePrimary(t *testing.T) {
	needsProc(t)
	p := startNode(t, nil).run()
	waitFor(t, func() bool { return len(p.workers()) >= 1 })
	workers := p.workers()
	must(t, p.Process.Kill())
	_ = p.wait()
	for _, pid := range workers {
		waitFor(t, func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || bytes.Contains(stat, []byte(") Z"))
		})
	}
}

// TestManyConnections holds 5,000 connections where no worker may have more than 2,000, and weighs them. It begins with
// few workers and has three or four in the end, of which all but one in each lane are full.
func TestManyConnections(t *testing.T) {
	needsProc(t)
	const many = 5000
	p := startNode(t, func(s *Spec) { s.MaxConnections = many })
	p.files = prefork.Reserve + 2000
	p.run()
	first := firstWorkers(runtime.GOMAXPROCS(0))
	waitFor(t, func() bool { return len(p.workers()) >= first })
	if n := len(p.workers()); n != first {
		t.Errorf("%d workers before anybody has come, want %d", n, first)
	}
	before := p.residentBytes()

	conns := make([]net.Conn, many)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	var dialing sync.WaitGroup
	for lane := range 16 {
		dialing.Go(func() {
			// 127.0.x.y as sources: one has not ports enough for everybody.
			dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 9, byte(lane + 1)}), 0))}
			for i := lane; i < many; i += 16 {
				c, err := dialer.Dial("tcp", p.spec.Node.TCPAddress())
				if err != nil {
					t.Error(err)
					return
				}
				conns[i] = c
				if err := roundTrip(c, initialize, `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"`); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	dialing.Wait()
	waitFor(t, func() bool { return p.health().Connections == many })
	if n, most := len(p.workers()), prefork.Most(first, many, 1, uint64(p.files)); n < 3 || n > most {
		t.Errorf("%d workers, want 3 to %d", n, most)
	}
	if after := p.residentBytes(); after > before {
		t.Logf("%d bytes for each idle connection", (after-before)/many)
	}
	for i := 0; i < many; i += 50 {
		must(t, roundTrip(conns[i], ping(i), pong(i)))
	}
	one := dial(t, p.spec.Node.TCPAddress())
	if got := one.line(); !strings.Contains(got, `"code":-32018`) {
		t.Errorf("one too many got %s", got)
	}
	one.ends()
}

func roundTrip(c net.Conn, request, reply string) error {
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(request)); err != nil {
		return err
	}
	var b [4096]byte
	n, err := c.Read(b[:])
	if err == nil && !strings.HasPrefix(string(b[:n]), reply) {
		err = fmt.Errorf("answered with %s", b[:n])
	}
	return err
}

// residentBytes is the memory of the workers.
func (p *process) residentBytes() (sum int) {
	p.t.Helper()
	for _, pid := range p.workers() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		must(p.t, err)
		pages, err := strconv.Atoi(strings.Fields(string(text))[1])
		must(p.t, err)
		sum += pages * os.Getpagesize()
	}
	return sum
}
