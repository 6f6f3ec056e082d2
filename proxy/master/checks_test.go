package master

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// checked is a watcher of a node that a test makes well, dead or frozen.
type checked struct {
	*watcher
	mood  atomic.Int32 // well, dead, frozen or blind
	tells atomic.Int32

	mu    sync.Mutex
	begun []time.Time // when checks began
}

const (
	well int32 = iota
	dead
	frozen
	blind // this side cannot ask
)

// watched starts a watcher in the bubble of the test.
func watched(t *testing.T, mood int32, w duty, slowly bool) *checked {
	t.Helper()
	b, err := board.Create(board.Layout{Workers: 1, Sources: 64})
	if err != nil {
		t.Fatal(err)
	}
	c := &checked{}
	c.mood.Store(mood)
	w.probe = func(ctx context.Context) healthcheck.Result {
		began := time.Now()
		c.mu.Lock()
		c.begun = append(c.begun, began)
		c.mu.Unlock()
		switch c.mood.Load() {
		case dead:
			return healthcheck.Result{Cause: healthcheck.CauseRefused}
		case blind:
			return healthcheck.Result{Cause: healthcheck.CauseLocal}
		case frozen:
			select {
			case <-time.After(750 * time.Millisecond):
			case <-ctx.Done():
			}
			return healthcheck.Result{Cause: healthcheck.CauseTimeout}
		}
		time.Sleep(time.Millisecond)
		return healthcheck.Result{OK: true, Latency: time.Since(began)}
	}
	c.watcher = newWatcher(b, 0, board.TCP, "n", w, slowly, func() { c.tells.Add(1) }, log.New(io.Discard))
	ctx, cancel := context.WithCancel(t.Context())
	go c.run(ctx)
	t.Cleanup(func() {
		cancel()
		<-c.ended
		b.Close()
	})
	return c
}

// after lets time pass and everything due in it happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// begins lists when checks began.
func (c *checked) begins() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.begun)
}

// awaitCheck returns when the next check has begun.
func (c *checked) awaitCheck() {
	for checks := len(c.begins()); len(c.begins()) == checks; {
		after(time.Millisecond)
	}
}

func (c *checked) state() board.State { return board.State(c.port.State.Load()) }
func (c *checked) weight() uint32     { return c.port.Weight.Load() }
func (c *checked) generation() uint32 { return c.port.Generation.Load() }

// suspicion is a worker's report about the node as it is now.
func (c *checked) suspicion(reason string, errors int) wire.Suspect {
	return wire.Suspect{Generation: c.generation(), Reason: reason, Errors: errors}
}

func (c *checked) wants(t *testing.T, s board.State) {
	t.Helper()
	if got := c.state(); got != s {
		t.Fatalf("node is %v, want %v", got, s)
	}
}

func defaultDuty() duty {
	s := proxy.Default()
	s.Checks.GiveUp = s.Checks.Timeout
	return duty{checks: s.Checks, weight: 2, slowStart: s.SlowStart}
}

func TestFirstCheckDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		synctest.Wait()
		c.wants(t, board.Down)
		after(time.Millisecond)
		c.wants(t, board.Up)
		if c.weight() != 2*policy.WeightUnit {
			t.Errorf("weight is %d at first boot", c.weight())
		}
		<-c.decided
	})
}

func TestRiseAfterFailedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, dead, defaultDuty(), false)
		synctest.Wait()
		<-c.decided
		c.wants(t, board.Down)
		generation := c.generation()
		c.mood.Store(well)
		c.awaitCheck()
		after(200 * time.Millisecond)
		c.wants(t, board.Down) // one success
		after(51 * time.Millisecond)
		c.wants(t, board.Up)
		if c.weight() != 2*policy.WeightUnit {
			t.Errorf("weight is %d at first boot", c.weight())
		}
		if c.generation() != generation {
			t.Error("coming up changed the generation")
		}
	})
}

func TestDetection(t *testing.T) {
	for name, test := range map[string]struct {
		mood int32
		most time.Duration
	}{
		"dead":   {dead, 3250 * time.Millisecond},
		"frozen": {frozen, 4750 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := watched(t, well, defaultDuty(), false)
				after(time.Minute)
				c.wants(t, board.Up)
				// The worst moment: a check has just succeeded.
				c.awaitCheck()
				after(time.Millisecond)
				c.mood.Store(test.mood)
				generation, tells, broke := c.generation(), c.tells.Load(), time.Now()
				for c.state() == board.Up {
					after(time.Millisecond)
				}
				c.wants(t, board.Down)
				if took := time.Since(broke); took > test.most+2*time.Millisecond {
					t.Errorf("noticed after %v, want at most %v", took, test.most)
				}
				if c.generation() != generation+1 || c.tells.Load() != tells+1 {
					t.Errorf("generation %d → %d, workers told %d times", generation, c.generation(), c.tells.Load()-tells)
				}
				want := 250 * time.Millisecond // from the first failed check's begin to the second's end
				if test.mood == frozen {
					want = 1500 * time.Millisecond
				}
				if got := c.status.Load().detected; got != want {
					t.Errorf("detected after %v, want %v", got, want)
				}
			})
		})
	}
}

func TestIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(10 * time.Minute)
		gaps := gaps(c.begins())
		if low, high := slices.Min(gaps), slices.Max(gaps); low < 2700*time.Millisecond || high > 3001*time.Millisecond || high-low < 100*time.Millisecond {
			t.Errorf("checks are from %v to %v apart", low, high)
		}
	})
}

func gaps(at []time.Time) (between []time.Duration) {
	for i := 1; i < len(at); i++ {
		between = append(between, at[i].Sub(at[i-1]))
	}
	return between
}

func TestOneFailureIsForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		generation := c.generation()
		c.mood.Store(dead)
		c.awaitCheck()
		c.mood.Store(well)
		after(time.Minute)
		c.wants(t, board.Up)
		if c.generation() != generation {
			t.Error("the node was down")
		}
	})
}

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), true)
		after(time.Millisecond)
		c.wants(t, board.Up)
		if c.weight() != 2 {
			t.Errorf("weight begins at %d/256, want 2/256", c.weight())
		}
		tells, last := c.tells.Load(), c.weight()
		for range 59 {
			after(time.Second)
			if c.weight() <= last {
				t.Errorf("weight went from %d to %d", last, c.weight())
			}
			last = c.weight()
		}
		if last < 500 || last >= 512 {
			t.Errorf("weight is %d/256 after 59 s", last)
		}
		after(time.Second)
		if c.weight() != 512 {
			t.Errorf("weight is %d/256 after 60 s", c.weight())
		}
		if c.tells.Load() != tells {
			t.Error("workers were told of weights")
		}
	})
}

func TestRecoveredNodeStartsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		c.mood.Store(dead)
		after(4 * time.Second)
		c.wants(t, board.Down)
		c.mood.Store(well)
		for c.state() != board.Up {
			after(time.Millisecond)
		}
		if c.weight() != 2 {
			t.Errorf("weight is %d/256", c.weight())
		}
	})
}

func TestDrainAndEnable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enabled := defaultDuty()
		enabled.slowStart = 0
		c := watched(t, well, enabled, false)
		after(time.Second)
		enabled = c.duty
		drained := enabled
		drained.admin = admin.Drained
		generation := c.generation()
		c.order(drained)
		c.wants(t, board.Draining)
		if c.generation() != generation {
			t.Error("draining voids sticky sources")
		}
		c.mood.Store(dead)
		after(4 * time.Second)
		c.wants(t, board.Down)
		c.mood.Store(well)
		after(4 * time.Second)
		c.wants(t, board.Draining)
		c.order(enabled)
		c.wants(t, board.Up)
		if c.weight() != 2*policy.WeightUnit {
			t.Errorf("weight is %d/256 without slow start", c.weight())
		}
	})
}

func TestOrderAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := board.Create(board.Layout{Workers: 1, Sources: 64})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		d := defaultDuty()
		d.probe = func(ctx context.Context) healthcheck.Result { <-ctx.Done(); return healthcheck.Result{} }
		w := newWatcher(b, 0, board.TCP, "n", d, false, func() {}, log.New(io.Discard))
		ctx, cancel := context.WithCancel(t.Context())
		go w.run(ctx)
		synctest.Wait()
		cancel()
		<-w.ended
		w.order(defaultDuty())
		w.report(wire.Suspect{})
		w.report(wire.Suspect{})
	})
}

func TestInconclusiveChecksSayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		c.mood.Store(blind)
		after(time.Minute)
		c.wants(t, board.Up)
		if n := len(c.begins()); n < 200 {
			t.Errorf("tried %d times in a minute", n)
		}
	})
}

func TestFallOfOne(t *testing.T) {
	c := proxy.Checks{Fall: 1, Rise: 1}
	h := health{state: board.Up, checked: true}
	h.doubt(&c)
	if h.state != board.Up || !h.settled() {
		t.Error("a suspicion alone marks a node down")
	}
	if !h.observe(board.Down, &c) || h.state != board.Down {
		t.Error("one failure does not mark it down")
	}
	if !h.observe(board.Up, &c) || h.state != board.Up {
		t.Error("one success does not mark it up")
	}
}

// A node that answers clients is up, however late its checks are.
func TestLateChecksOfABusyNodeProveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		c.wants(t, board.Up)
		c.mood.Store(frozen)
		for range 20 {
			c.awaitCheck()
			c.board.Flow(0, 0).LifeSigns[board.TCP].Add(1)
		}
		c.wants(t, board.Up)
		last := time.Now() // from here on it is silent
		for c.state() == board.Up {
			after(10 * time.Millisecond)
		}
		if took := time.Since(last); took > 5*time.Second {
			t.Errorf("down %v after its last answer", took)
		}
	})
}

// Refused connections condemn; connections that take too long only have the node checked.
func TestOnlyRefusalsCondemn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		c.report(c.suspicion(wire.SuspectTimeout, wire.ErrorsInARow))
		after(time.Second)
		c.wants(t, board.Up)
		c.report(c.suspicion(wire.SuspectRefused, wire.ErrorsInARow))
		synctest.Wait()
		c.wants(t, board.Down)
	})
}
