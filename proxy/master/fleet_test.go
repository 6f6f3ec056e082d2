package master

import (
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func TestHeartbeatsAreCounted(t *testing.T) {
	b, err := board.Create(board.Layout{Workers: 2, Sources: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	f := &fleet{board: b, rows: make([]row, 2)}
	for range 3 * maxMissed {
		if n := f.misses(0); n != 0 {
			t.Fatalf("a worker that has not begun missed %d heartbeats", n)
		}
	}
	b.Worker(0).HeartbeatNs.Store(5)
	for want := range maxMissed + 2 {
		if n := f.misses(0); n != want {
			t.Fatalf("missed %d, want %d", n, want)
		}
	}
	b.Worker(0).HeartbeatNs.Store(6)
	if n := f.misses(0); n != 0 {
		t.Errorf("missed %d after a heartbeat", n)
	}
}

// A balancer lives while each worker, or its replacement, is heard of now and then.
func TestWorkersAliveToWatchdog(t *testing.T) {
	b, err := board.Create(board.Layout{Workers: 3, Sources: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	g := &generation{rows: []int{0, 1, 2}, serving: true}
	f := &fleet{board: b, rows: make([]row, 3), generations: []*generation{g}}
	f.rows[0].used, f.rows[1].used = true, true // and 2 never was
	now := int64(0)
	look := func(times int, beating ...int) error {
		for range times {
			now++
			for _, r := range beating {
				b.Worker(r).HeartbeatNs.Store(now)
			}
			for _, r := range g.rows {
				f.misses(r)
			}
		}
		return f.alive()
	}
	for _, step := range []struct {
		what    string
		beating []int
		clear   bool
		times   int
		alive   bool
	}{
		{"both run", []int{0, 1}, false, 3 * maxSilent, true},
		{"one is silent, and about to be killed", []int{0}, false, maxSilent - 1, true},
		{"killing it has not helped", []int{0}, false, 1, false},
		{"it comes back", []int{0, 1}, false, 1, true},
		{"it has ended", []int{0}, true, maxSilent - 1, true},
		{"nothing has replaced it", []int{0}, false, 1, false},
		{"the replacement runs", []int{0, 1}, false, 1, true},
	} {
		if step.clear {
			b.Worker(1).HeartbeatNs.Store(0)
		}
		if err := look(step.times, step.beating...); (err == nil) != step.alive {
			t.Errorf("%s: %v", step.what, err)
		}
	}
	_ = look(maxSilent, 0)
	g.retiring = true
	if err := f.alive(); err != nil {
		t.Errorf("workers on their way out: %v", err)
	}
}

// A worker that hangs is replaced, the others live on.
func TestHungWorkerIsReplaced(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) { s.Workers = 2 })
	clients := make([]*proxytest.Client, 20) // the kernel chooses their workers by hash
	for i := range clients {
		clients[i] = b.dial()
		clients[i].Ask("hello")
	}
	hung := b.stats().Workers[0]
	if err := syscall.Kill(hung.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(hung.PID, syscall.SIGKILL) })
	b.eventually("the replacement", func(s *proxy.Stats) bool {
		w := s.Workers[0]
		return w.PID != 0 && w.PID != hung.PID && w.Restarts == 1
	})
	served := 0
	for _, c := range clients {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("still here\n")); err != nil {
			continue
		}
		if _, err := c.Reader.ReadString('\n'); err == nil {
			served++
		}
	}
	if want := len(clients) - int(hung.Active); served != want {
		t.Errorf("%d clients are served, want %d", served, want)
	}
}

// The end may come while the workers of a new listener are being started; who starts them ends them then.
func TestStopWhileAGenerationStarts(t *testing.T) {
	f := &fleet{rows: make([]row, 1)}
	g, err := newGeneration(proxy.Listen{TCP: "127.0.0.1:0"}, capacity{workers: 1, most: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.enter(g); err != nil {
		t.Fatal(err)
	}
	if err := f.stop(t.Context()); err != nil {
		t.Error(err)
	}
	if f.leave(g); len(f.generations) != 0 {
		t.Errorf("%d generations are left", len(f.generations))
	}
}
