package daemon

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/log"
)

func TestWatchdogOf(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"30000000", "", 30 * time.Second},
		{"30000000", "7", 30 * time.Second},
		{"30000000", "8", 0}, // meant for the process that has started this one
		{"30000000", "x", 0},
		{"", "", 0},
		{"", "7", 0},
		{"0", "7", 0},
		{"-1", "7", 0},
		{"1.5", "7", 0},
		{"9223372036854775807", "7", 0},
		{"18446744073709551615", "7", 0}, // what systemd calls infinity
	} {
		if got := watchdogOf(c.usec, c.pid, 7); got != c.want {
			t.Errorf("%q for %q is %v, want %v", c.usec, c.pid, got, c.want)
		}
	}
}

// patient is what is watched, and who is told.
type patient struct {
	mu    sync.Mutex
	state error // errHangs: it does not answer
	signs int
	said  strings.Builder
}

var errHangs = errors.New("hangs")

func (p *patient) alive(ctx context.Context) error {
	p.mu.Lock()
	state := p.state
	p.mu.Unlock()
	if errors.Is(state, errHangs) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return state
}

func (p *patient) sign() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signs++
	return nil
}

func (p *patient) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(text)
}

// Signs are given while what is watched lives, none while it is not well or hangs, and again afterwards.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p patient
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			watch(ctx, time.Second, p.alive, p.sign, log.New(&p))
		}()
		time.Sleep(time.Second / 2) // from here on between two signs
		for _, phase := range []struct {
			state error
			signs int // within ten seconds
			says  string
		}{
			{nil, 10, ""},
			{errors.New("a worker hangs"), 0, "a worker hangs"},
			{nil, 10, ""},
			{errHangs, 0, "deadline exceeded"},
			{nil, 10, ""},
		} {
			p.mu.Lock()
			p.state, p.signs = phase.state, 0
			p.said.Reset()
			p.mu.Unlock()
			time.Sleep(10 * time.Second)
			p.mu.Lock()
			if p.signs != phase.signs || !strings.Contains(p.said.String(), phase.says) {
				t.Errorf("%v: %d signs, want %d; said %s", phase.state, p.signs, phase.signs, p.said.String())
			}
			p.mu.Unlock()
		}
		cancel()
		<-ended
	})
}

func TestNobodyWatches(t *testing.T) {
	Watch(t.Context(), func(context.Context) error { t.Error("asked"); return nil }, log.New(io.Discard))
}
