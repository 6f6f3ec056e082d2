package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/bus"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// coordinator is one whose clock is ahead, and the link to it.
type coordinator struct {
	ahead time.Duration
	said  chan bus.Message // to the agent
	heard chan bus.Message // from it, except for the clock
	gone  chan struct{}
}

func newCoordinator(ahead time.Duration) *coordinator {
	return &coordinator{ahead, make(chan bus.Message, 100), make(chan bus.Message, 1000), make(chan struct{})}
}

func (c *coordinator) now() int64 { return mono.Now() + int64(c.ahead) }

func message(kind string, data any) bus.Message {
	text, _ := json.Marshal(data)
	return bus.Message{Kind: kind, Data: text}
}

// Send is what the agent says.
func (c *coordinator) Send(kind string, data any) error {
	switch kind {
	case wire.KindHello:
		c.said <- message(wire.KindWelcome, wire.Welcome{Run: "r", Agent: "a"})
	case wire.KindClock:
		c.said <- message(wire.KindClock, wire.Clock{Sent: data.(wire.Clock).Sent, Now: c.now()})
	default:
		select {
		case c.heard <- message(kind, data):
		default:
		}
	}
	return nil
}

func (c *coordinator) Receive() (bus.Message, error) {
	select {
	case m := <-c.said:
		return m, nil
	case <-c.gone:
		return bus.Message{}, io.EOF
	}
}

func (c *coordinator) Close(string) {}

func start(t *testing.T, c *coordinator) <-chan error {
	ctx, cancel := context.WithCancelCause(t.Context())
	a := &agent{log: log.New(io.Discard), cancel: cancel, hurry: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx, c) }()
	return ended
}

// hear returns the next message of a kind.
func hear(t *testing.T, c *coordinator, kind string, into any) {
	t.Helper()
	for patience := time.After(time.Minute); ; {
		select {
		case m := <-c.heard:
			if m.Kind == kind {
				if err := json.Unmarshal(m.Data, into); err != nil {
					t.Fatal(err)
				}
				return
			}
		case <-patience:
			t.Fatalf("no %s", kind)
		}
	}
}

// Whatever the clocks say, instants of reports are on the coordinator's, and orders without a generator are refused.
func TestClockOfTheCoordinator(t *testing.T) {
	for _, ahead := range []time.Duration{5 * time.Hour, -1000 * time.Hour} {
		c := newCoordinator(ahead)
		ended := start(t, c)
		var n wire.Counts
		before := c.now()
		hear(t, c, wire.KindReport, &n)
		hear(t, c, wire.KindReport, &n) // made after before
		if n.At < before-int64(time.Second) || n.At > c.now()+int64(time.Second) {
			t.Errorf("%s ahead: a report is %s off", ahead, time.Duration(n.At-c.now()))
		}
		c.said <- message(wire.KindOrder, wire.Numbered{Number: 7, Order: wire.Order{Kind: wire.OrderPing}})
		var answer wire.Answer
		hear(t, c, wire.KindAnswer, &answer)
		if answer.Number != 7 || !strings.Contains(answer.Ack.Error, "agent a: ping: nothing was opened") {
			t.Errorf("%+v", answer)
		}
		c.said <- message(wire.KindOrder, wire.Numbered{Number: 8, Order: wire.Order{Kind: wire.OrderStop}})
		if err := <-ended; err != nil {
			t.Error(err)
		}
		close(c.gone)
	}
}

func TestLostCoordinator(t *testing.T) {
	c := newCoordinator(0)
	ended := start(t, c)
	hear(t, c, wire.KindReport, new(wire.Counts))
	close(c.gone)
	var lost *lostError
	if err := <-ended; !errors.As(err, &lost) || !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// The quickest of the latest answers counts. One machine has one clock.
func TestClock(t *testing.T) {
	const hour, ms, us = int64(time.Hour), int64(time.Millisecond), int64(time.Microsecond)
	var c clock
	at := 1000 * hour
	read := func(ahead, there, back int64) { c.read(wire.Clock{Sent: at, Now: at + there + ahead}, at+there+back) }
	for range clockRounds - 1 {
		read(5*hour, 900*us, 100*us) // a slow way there
	}
	read(5*hour, 50*us, 40*us)
	if off := c.theirs(at) - at - 5*hour; off < -5*us || off > 5*us {
		t.Errorf("%d ns off", off)
	}
	if c.ours(c.theirs(at)) != at || c.theirs(0) != 0 || c.ours(0) != 0 {
		t.Error("there and back is not the same")
	}
	for range clockRounds { // it has run ahead since: the quick answer is old
		read(5*hour+3*ms, 500*us, 500*us)
	}
	if off := c.theirs(at) - at - 5*hour - 3*ms; off != 0 {
		t.Errorf("%d ns off", off)
	}
	for range clockRounds {
		read(20*us, 50*us, 50*us)
	}
	if c.theirs(at) != at {
		t.Error("two clocks on one machine")
	}
}
