package agent

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/bus"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// lostError ends an agent whose coordinator has gone.
type lostError struct{ why error }

func (e *lostError) Error() string {
	return "the coordinator of the load test has gone: " + e.why.Error()
}
func (e *lostError) Unwrap() error { return e.why }

// ErrNotPinned says that whoever answers is not the coordinator.
var ErrNotPinned = bus.ErrNotPinned

// LeastSecret is how many characters a token must have to join by it alone, without a pin.
const LeastSecret = bus.LeastSecret

// CheckPin says what is wrong with a pin that an agent was given.
func CheckPin(pin string) error {
	_, err := bus.ParsePin(pin)
	return err
}

// join is the way to the coordinator that the options name.
func join(ctx context.Context, o Options) (bus.Link, error) {
	switch {
	case o.Join != "":
		return bus.Dial(ctx, o.Join, o.Pin, o.Token)
	case o.Bus != "":
		return bus.Enter(ctx, bus.NATS{URL: o.Bus, Secret: o.BusSecret, CA: o.BusCA})
	}
	child, err := prefork.Inherit()
	if err != nil {
		return nil, err
	}
	return parent{child}, nil
}

// parent is the coordinator of an agent that it has started, at the other end of the control stream.
type parent struct{ child *prefork.Child }

// Send implements [bus.Peer].
func (p parent) Send(kind string, data any) error { return p.child.Send(kind, data) }

// Receive implements [bus.Link]. The coordinator's death ends it at once.
func (p parent) Receive() (bus.Message, error) {
	m, err := p.child.Receive()
	return bus.Message(m), err
}

// Close implements [bus.Peer]: the stream ends with the process.
func (p parent) Close(string) {}

// introduce says who this agent is, and returns who it is to the coordinator.
func introduce(link bus.Link, h wire.Hello) (w wire.Welcome, err error) {
	if err := link.Send(wire.KindHello, h); err != nil {
		return w, err
	}
	if err := expect(link, wire.KindWelcome, &w); err != nil {
		return w, err
	}
	if w.Error != "" {
		return w, fmt.Errorf("not welcome in the load test: %s", w.Error)
	}
	return w, nil
}

// expect receives the one message that may come now.
func expect(link bus.Link, kind string, data any) error {
	m, err := link.Receive()
	if err != nil {
		return err
	}
	if m.Kind != kind {
		return fmt.Errorf("the coordinator says %q where %q was due", m.Kind, kind)
	}
	return json.Unmarshal(m.Data, data)
}
