package master

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// patientDuty is for nodes that may be busy.
func patientDuty() duty {
	w := defaultDuty()
	w.checks.GiveUp = 0
	return w
}

// life is what the board knows of the process, 0 for nothing.
func (c *checked) life() uint32 { return c.port.Life.Load() }

// becomes waits until the node is in a state, and returns for how long.
func (c *checked) becomes(t *testing.T, s board.State, most time.Duration) (took time.Duration) {
	t.Helper()
	began := time.Now()
	for c.state() != s {
		if after(time.Millisecond); time.Since(began) > most {
			t.Fatalf("node is %v after %v, want %v", c.state(), most, s)
		}
	}
	return time.Since(began)
}

func TestBusyNodeKeepsWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, patientDuty(), false)
		after(time.Second)
		generation, tells := c.generation(), c.tells.Load()
		c.mood.Store(frozen)
		c.becomes(t, board.Silent, 4800*time.Millisecond)
		serves := policy.WhenServing>>c.state()&1 != 0 // those who belong to it
		if !serves || c.generation() != generation || c.tells.Load() != tells+1 {
			t.Errorf("serves: %v, generation %d → %d, workers told %d times", serves, generation, c.generation(), c.tells.Load()-tells)
		}
		checks := len(c.begins())
		after(time.Minute)
		c.wants(t, board.Silent)
		if n := len(c.begins()) - checks; n < 18 || n > 21 { // each is one more thing that it has to do
			t.Errorf("%d checks in a minute of silence", n)
		}
		c.mood.Store(well)
		c.becomes(t, board.Up, 3600*time.Millisecond)
		if c.weight() != 2*policy.WeightUnit || c.generation() != generation || c.life() != 0 {
			t.Errorf("weight %d/256, generation %d → %d, life %d", c.weight(), generation, c.generation(), c.life())
		}
		c.mood.Store(dead) // one that goes down does start slowly
		c.becomes(t, board.Down, 4*time.Second)
		c.mood.Store(well)
		c.becomes(t, board.Up, 4*time.Second)
		if c.weight() != 2 {
			t.Errorf("weight %d/256 after it was down", c.weight())
		}
	})
}

// What a silent node says to a client has it checked at once.
func TestBusyNodeThatSpeaksIsChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, patientDuty(), false)
		after(time.Second)
		c.mood.Store(frozen)
		c.becomes(t, board.Silent, 5*time.Second)
		c.awaitCheck()
		after(800 * time.Millisecond)
		c.mood.Store(well)
		c.board.Flow(0, 0).LifeSigns[board.TCP].Add(1)
		c.becomes(t, board.Up, 550*time.Millisecond)
	})
}

func TestSilenceForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, patientDuty(), false)
		after(time.Second)
		generation := c.generation()
		c.mood.Store(frozen)
		c.becomes(t, board.Silent, 5*time.Second)
		after(5 * time.Minute)
		c.board.Flow(0, 0).LifeSigns[board.TCP].Add(1) // it has told a client how far it is
		spoke := time.Now()
		after(proxy.DefaultGiveUp - time.Second)
		c.wants(t, board.Silent)
		c.becomes(t, board.Down, 6*time.Second)
		if c.generation() != generation+1 || time.Since(spoke) < proxy.DefaultGiveUp {
			t.Errorf("generation %d → %d, %v after a word", generation, c.generation(), time.Since(spoke))
		}
		if c.life() != 0 {
			t.Error("its process is thought to have ended")
		}
	})
}

// A refusal is no silence: nobody is there.
func TestSilentNodeThatRefuses(t *testing.T) {
	for name, refuse := range map[string]func(*checked){
		"checks":  func(c *checked) { c.mood.Store(dead) },
		"workers": func(c *checked) { c.mood.Store(dead); c.report(c.suspicion(wire.SuspectRefused, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := watched(t, well, patientDuty(), false)
				after(time.Second)
				c.mood.Store(frozen)
				c.becomes(t, board.Silent, 5*time.Second)
				generation, most := c.generation(), 4*time.Second
				if refuse(c); name == "workers" {
					most = time.Second
				}
				c.becomes(t, board.Down, most)
				if c.generation() != generation+1 || c.life() == 0 {
					t.Errorf("generation %d → %d, life %d", generation, c.generation(), c.life())
				}
			})
		})
	}
}

func TestSuspicionIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, patientDuty(), false)
		after(time.Second)
		changes := c.port.StateChanges.Load()
		c.mood.Store(frozen)
		for _, reason := range []string{wire.SuspectSilent, wire.SuspectClosed, wire.SuspectTimeout} {
			c.report(c.suspicion(reason, wire.ErrorsInARow))
			synctest.Wait()
		}
		c.mood.Store(well) // again, by the next check
		after(time.Minute)
		if c.wants(t, board.Up); c.port.StateChanges.Load() != changes {
			t.Errorf("%d changes of its state", c.port.StateChanges.Load()-changes)
		}
	})
}

// A balancer that starts while its node computes does not know better.
func TestFirstCheckOfABusyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, frozen, patientDuty(), false)
		after(time.Second)
		c.wants(t, board.Silent)
		<-c.decided
		c.mood.Store(dead)
		c.becomes(t, board.Down, 4*time.Second)
		c.mood.Store(frozen)
		after(time.Minute)
		c.wants(t, board.Down) // that is no answer
	})
}

// One refusal shows that a process has ended, even if the next one is there before the node is down.
func TestLifeBeginsAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, patientDuty(), false)
		after(time.Second)
		c.mood.Store(dead)
		c.awaitCheck()
		after(time.Millisecond)
		first := c.life()
		if first == 0 {
			t.Fatal("a refusal is not remembered")
		}
		after(200 * time.Millisecond)
		c.mood.Store(well)
		after(time.Minute)
		if c.wants(t, board.Up); c.life() != first {
			t.Error("its life has begun again")
		}
		c.mood.Store(dead)
		after(time.Minute)
		second := c.life()
		if second <= first {
			t.Errorf("first %d, second %d", first, second)
		}
		if after(time.Minute); c.life() != second {
			t.Error("each refusal is another life")
		}
	})
}
