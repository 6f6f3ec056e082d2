package cluster

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
)

func TestHistory(t *testing.T) {
	var h history
	if got := h.since(0); len(got) != 0 {
		t.Errorf("nothing has happened, but %v", got)
	}
	for range keptEvents + 5 {
		h.add(Event{})
	}
	for since, want := range map[uint64]int{0: keptEvents, 5: keptEvents, 6: keptEvents - 1, keptEvents + 5: 0, keptEvents + 9: 0} {
		got := h.since(since)
		if len(got) != want || want > 0 && got[want-1].Sequence != keptEvents+5 {
			t.Errorf("since %d: %d events", since, len(got))
		}
	}
}

func TestEvents(t *testing.T) {
	c := supervise(t, testSpec(t, 2), SupervisorOptions{})
	if err := c.Kill(t.Context(), "erlmcp2", SignalKill, true); err != nil {
		t.Fatal(err)
	}
	awaitState(t, c, "erlmcp2", StateHeld)
	var text []string
	var last uint64
	collect := func(e Event) error {
		if e.Sequence != last+1 || e.Time.IsZero() {
			t.Errorf("after %d: %+v", last, e)
		}
		last = e.Sequence
		if e.Node == "erlmcp2" {
			text = append(text, string(e.From)+">"+string(e.State)+":"+e.Reason)
		}
		return nil
	}
	if err := c.Events(t.Context(), false, collect); err != nil {
		t.Fatal(err)
	}
	want := ">stopped: stopped>starting: starting>ready: ready>stopping:killed on request stopping>held:was killed by SIGKILL"
	if got := strings.Join(text, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	enough := errors.New("enough")
	seen := make(chan error, 1)
	last = 0
	go func() {
		seen <- c.Events(t.Context(), true, func(e Event) error {
			if e.Node == "erlmcp1" && e.State == StateStopped && e.From == StateStopping {
				return enough
			}
			return nil
		})
	}()
	if err := c.StopNodes(t.Context(), []string{"erlmcp1"}); err != nil {
		t.Fatal(err)
	}
	if err := <-seen; !errors.Is(err, enough) {
		t.Errorf("following ended with %v", err)
	}
}

func TestDrainingNode(t *testing.T) {
	c := supervise(t, testSpec(t, 2), SupervisorOptions{})
	one := []string{"erlmcp1"}
	if err := c.DrainNodes(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if n := node(t, c, "erlmcp1"); n.State != StateDraining || n.Reason != "gets no new clients" || !answers(n.TCP) {
		t.Errorf("node is %+v", n)
	}
	if err := c.ResumeNodes(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := node(t, c, "erlmcp1"); n.State != StateReady {
		t.Errorf("node is %+v", n)
	}
	if err := c.DrainNodes(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := c.RestartNodes(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if n := node(t, c, "erlmcp1"); n.State != StateReady {
		t.Errorf("restarted node is %+v", n)
	}
	if err := c.StopNodes(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := c.DrainNodes(t.Context(), one); err == nil || err.Error() != "erlmcp1 does not run (stopped)" {
		t.Errorf("draining a stopped node: %v", err)
	}
}

// A frozen node is killed and started again, if that is wanted.
func TestFrozenNode(t *testing.T) {
	spec := testSpec(t, 1)
	spec.Liveness = Liveness{Interval: minLivenessInterval, Failures: 2}
	c := supervise(t, spec, SupervisorOptions{probe: func(ctx context.Context, n topology.Node) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return probeNode(ctx, n)
	}})
	first := node(t, c, "erlmcp1")
	if err := c.Kill(t.Context(), "erlmcp1", SignalStop, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another life", func() bool { n := node(t, c, "erlmcp1"); return n.State == StateReady && n.PID != first.PID })
	if got := logOf(t, first); !strings.Contains(got, "erlmcp1 did not answer 2 times in a row (tcp: no reply within ") {
		t.Errorf("log is\n%s", got)
	}
}

func TestLiveness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var asked atomic.Int64
		answers := []bool{true, false, false, true, false, false, false, true}
		probe := func(context.Context, topology.Node) error {
			if answers[asked.Add(1)-1] {
				return nil
			}
			return errors.New("silence")
		}
		begin := time.Now()
		got := <-Liveness{Interval: time.Second, Failures: 3}.watch(ctx, probe, topology.Node{})
		if got != "did not answer 3 times in a row (silence) and was killed" || time.Since(begin) != 7*time.Second {
			t.Errorf("after %v: %s", time.Since(begin), got)
		}
		if (Liveness{Failures: 1}).watch(ctx, probe, topology.Node{}) != nil {
			t.Error("what is switched off has something to say")
		}
		unanswered := Liveness{Interval: time.Second, Failures: 1}.watch(ctx, func(ctx context.Context, _ topology.Node) error {
			<-ctx.Done()
			return ctx.Err()
		}, topology.Node{})
		time.Sleep(time.Minute)
		cancel()
		synctest.Wait()
		select {
		case got := <-unanswered:
			t.Errorf("after the end: %s", got)
		default:
		}
	})
}
