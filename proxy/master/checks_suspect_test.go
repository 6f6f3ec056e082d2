package master

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

func TestRefusedThriceIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		generation := c.generation()
		c.report(c.suspicion(wire.SuspectRefused, 3))
		synctest.Wait()
		c.wants(t, board.Down)
		if c.generation() != generation+1 {
			t.Errorf("generation went from %d to %d", generation, c.generation())
		}
		// A wrong suspicion is put right by two checks at the fast interval.
		after(251 * time.Millisecond)
		c.wants(t, board.Up)
	})
}

// Nothing a client can bring about marks a well node down.
func TestSuspicionOfWellNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		begins := len(c.begins())
		for range 1000 {
			for _, reason := range []string{wire.SuspectReset, wire.SuspectClosed, wire.SuspectSilent} {
				c.report(c.suspicion(reason, 99))
			}
			after(10 * time.Millisecond)
			c.wants(t, board.Up)
		}
		if n := len(c.begins()) - begins; n < 39 || n > 41 {
			t.Errorf("%d checks in ten seconds, want one in 250 ms", n)
		}
	})
}

func TestSuspicionCountsAsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		c.mood.Store(frozen)
		c.report(c.suspicion(wire.SuspectSilent, 0))
		after(749 * time.Millisecond)
		c.wants(t, board.Up)
		after(time.Millisecond)
		c.wants(t, board.Down)
	})
}

func TestSuspicionWhileChecking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, frozen, defaultDuty(), false)
		after(time.Second) // not checking: first result is in
		c.mood.Store(well)
		after(10 * time.Second)
		c.mood.Store(frozen)
		c.awaitCheck()
		c.mood.Store(well)
		c.report(c.suspicion(wire.SuspectReset, 1))
		after(752 * time.Millisecond)
		if g := gaps(c.begins()); g[len(g)-1] > 751*time.Millisecond {
			t.Errorf("next check %v after the one under way", g[len(g)-1])
		}
		c.wants(t, board.Up)
	})
}

// A process that is being killed may take a check in before it closes its socket.
func TestCheckOfADyingNodeIsNotAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		c.mood.Store(frozen)
		c.awaitCheck()
		for range 4 {
			c.report(c.suspicion(wire.SuspectReset, wire.ErrorsInARow))
			after(100 * time.Millisecond)
		}
		c.wants(t, board.Down)
	})
}

// One that answers others meanwhile is only slow.
func TestCheckOfASlowNodeIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		c.mood.Store(frozen)
		c.awaitCheck()
		c.mood.Store(well)
		c.board.Flow(0, 0).LifeSigns[board.TCP].Add(1)
		for range 8 {
			c.report(c.suspicion(wire.SuspectReset, wire.ErrorsInARow))
			after(100 * time.Millisecond)
		}
		c.wants(t, board.Up)
	})
}

func TestStaleSuspicionIsVoid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := watched(t, well, defaultDuty(), false)
		after(time.Second)
		begins := len(c.begins())
		s := c.suspicion(wire.SuspectRefused, 3)
		s.Generation--
		c.report(s)
		after(time.Second)
		c.wants(t, board.Up)
		if len(c.begins()) != begins {
			t.Error("it was checked")
		}
	})
}
