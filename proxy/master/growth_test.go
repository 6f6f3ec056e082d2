package master

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func init() {
	proxytest.Roles["limited"] = limitedDefaults
}

// limitedDefaults is the role of a master whose processes may open few files: how many, then as for benchDefaults.
func limitedDefaults(args []string) error {
	files, err := strconv.ParseUint(args[0], 10, 64)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: files, Max: files})
	}
	if err != nil {
		return err
	}
	return benchDefaults(args[1:])
}

// A balancer begins with a worker a core and gets others as they are needed: nobody is dropped or refused on the way, and
// each worker is filled before the next one is used.
func TestGrowth(t *testing.T) {
	if runtime.GOOS == "darwin" {
		t.Skip("there is one source address")
	}
	const files, few, many = 1024, 100, 1800
	room := prefork.Room(descriptorsPerClient, files)
	node := proxytest.StartNode(t, "", func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	dir, address := proxytest.StateDir(t), proxytest.FreeAddress(t)
	cmd := proxytest.PlayRole("limited", strconv.Itoa(files), dir, address, proxytest.FreeAddress(t), strconv.Itoa(node.Node("n").TCP), "0")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	stats := func() proxy.Stats {
		s, err := proxy.Connect(dir).Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	waittest.Until(t, 20*time.Second, "the balancer serves", func() bool {
		s, err := proxy.Connect(dir).Stats(context.Background())
		return err == nil && s.State == proxy.StateRunning && s.Node("n0").State == proxy.NodeUp
	})

	conns := make([]net.Conn, many)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	var ended atomic.Bool
	var talking sync.WaitGroup
	var answers atomic.Int64
	connect := func(i int) error { // and talk from then on
		from := &net.TCPAddr{IP: net.IPv4(127, 4, byte(i/20), 1)}
		c, err := (&net.Dialer{LocalAddr: from, Timeout: 20 * time.Second}).Dial("tcp4", address)
		if err != nil {
			return err
		}
		conns[i] = c
		r := bufio.NewReader(c)
		ask := func() error {
			if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				return err
			}
			line := fmt.Sprintf("hello from %d\n", i)
			if _, err := io.WriteString(c, line); err != nil {
				return err
			}
			if got, err := r.ReadString('\n'); err != nil || got != line {
				return fmt.Errorf("client %d: %q, %w", i, got, err)
			}
			answers.Add(1)
			return nil
		}
		if err := ask(); err != nil {
			return err
		}
		if i < few {
			talking.Go(func() {
				for !ended.Load() {
					if err := ask(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		return nil
	}
	ramp := func(from, to int) {
		t.Helper()
		var dialing sync.WaitGroup
		const lanes = 16
		for lane := range lanes {
			dialing.Go(func() {
				for i := from + lane; i < to; i += lanes {
					if err := connect(i); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		dialing.Wait()
	}
	ramp(0, few)
	cores := runtime.GOMAXPROCS(0)
	if s := stats(); len(s.Workers) != cores || s.MaxWorkers <= cores {
		t.Errorf("%d workers of %d for %d clients, want %d", len(s.Workers), s.MaxWorkers, few, cores)
	}
	before := answers.Load()
	ramp(few, many)
	if answers.Load()-before <= many-few {
		t.Error("nobody was answered meanwhile")
	}
	s := stats()
	ended.Store(true)
	talking.Wait()
	if s.Connections.Active != many || s.Refused != (proxy.RefusedStats{}) {
		t.Errorf("%d of %d clients are served, refused: %+v", s.Connections.Active, many, s.Refused)
	}
	var active []int64
	partial := 0
	for _, w := range s.Workers {
		active = append(active, w.Active)
		if w.Active > int64(room) {
			t.Errorf("worker %d has %d clients, and room for %d", w.Index, w.Active, room)
		}
		if w.Active > 0 && w.Active < int64(room) {
			partial++
		}
	}
	slices.Sort(active)
	t.Logf("clients of the workers: %d", active)
	if len(s.Workers) <= cores && many > cores*room || len(s.Workers) > 2*cores+many/room {
		t.Errorf("%d workers", len(s.Workers))
	}
	if partial > cores {
		t.Errorf("%d workers are filled in part, want at most %d", partial, cores)
	}
}
