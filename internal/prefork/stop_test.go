package prefork

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestStopIsGraceful(t *testing.T) {
	h := start(t, "polite", 3, nil)
	h.awaitEvents(t, "message", 3)
	if err := h.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	// What a copy said last came before its end, and nobody was replaced.
	for i, kinds := range h.history(3) {
		if want := []string{"start", "ready", "drained", "exit"}; !slices.Equal(kinds, want) {
			t.Errorf("copy %d: %v, want %v", i, kinds, want)
		}
	}
	if err := h.Stop(context.Background()); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if err := h.Send(0, "hello", nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("send to a stopped pool: %v", err)
	}
}

// history returns what happened to every copy, in order.
func (h *harness) history(copies int) [][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	kinds := make([][]string, copies)
	for _, e := range h.events {
		what := e.What
		if what == "message" {
			what = e.Message.Kind
		}
		kinds[e.Copy] = append(kinds[e.Copy], what)
	}
	return kinds
}

func TestStopThawsFrozenCopies(t *testing.T) {
	h := start(t, "polite", 1, nil)
	h.awaitEvents(t, "message", 1)
	if err := syscall.Kill(h.PID(0), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := h.history(1)[0]; !slices.Contains(got, "drained") {
		t.Error(got)
	}
}

func TestStopKillsTheStubborn(t *testing.T) {
	h := start(t, "stubborn", 2, nil)
	h.awaitEvents(t, "message", 2)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.Stop(ctx); !errors.Is(err, ErrKilled) {
		t.Errorf("stop: %v", err)
	}
	if n := len(h.all("exit")); n != 2 {
		t.Errorf("%d exits", n)
	}
}

// The second Ctrl-C.
func TestStopHastened(t *testing.T) {
	h := start(t, "stubborn", 2, nil)
	h.awaitEvents(t, "message", 2)
	slow := make(chan error)
	go func() { slow <- h.Stop(context.Background()) }()
	if err := h.Stop(ended()); !errors.Is(err, ErrKilled) {
		t.Errorf("second stop: %v", err)
	}
	if err := <-slow; !errors.Is(err, ErrKilled) {
		t.Errorf("first stop: %v", err)
	}
}
