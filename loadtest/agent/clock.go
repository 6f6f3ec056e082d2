package agent

import (
	"encoding/json"
	"sync"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/bus"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// clock knows what to add to this machine's monotonic clock to get the coordinator's. Both may have begun at any time, and
// may run apart by some tens of microseconds a second: it is asked for again and again, and of the latest answers the
// quickest is the most exact, to half a round trip.
type clock struct {
	mu     sync.Mutex
	latest [clockRounds]reading
	next   int
	offset int64
}

// reading is one answer.
type reading struct{ offset, trip int64 } // trip 0: none yet

// clockRounds is how many answers there are before an agent takes orders, and how many are compared.
const clockRounds = 8

// ask sends the coordinator the question what its clock says.
func ask(link bus.Link) error { return link.Send(wire.KindClock, wire.Clock{Sent: mono.Now()}) }

// begin asks until there are answers enough.
func (c *clock) begin(link bus.Link) error {
	for range clockRounds {
		if err := ask(link); err != nil {
			return err
		}
		var answer wire.Clock
		if err := expect(link, wire.KindClock, &answer); err != nil {
			return err
		}
		c.read(answer, mono.Now())
	}
	return nil
}

// answered takes an answer over that has come later.
func (c *clock) answered(data []byte) error {
	received := mono.Now()
	var answer wire.Clock
	if err := json.Unmarshal(data, &answer); err != nil {
		return err
	}
	c.read(answer, received)
	return nil
}

func (c *clock) read(answer wire.Clock, received int64) {
	trip := max(received-answer.Sent, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest[c.next%clockRounds] = reading{answer.Now - (answer.Sent + trip/2), trip}
	c.next++
	best := c.latest[0]
	for _, r := range c.latest[1:] {
		if r.trip > 0 && r.trip < best.trip {
			best = r
		}
	}
	// Processes of one machine share the clock, so an offset within the error is 0.
	if c.offset = best.offset; c.offset <= best.trip && c.offset >= -best.trip {
		c.offset = 0
	}
}

// theirs puts an instant of ours on the coordinator's clock, ours one of theirs on this machine's; 0 stays "never".
func (c *clock) theirs(at int64) int64 { return c.shift(at, 1) }
func (c *clock) ours(at int64) int64   { return c.shift(at, -1) }

func (c *clock) shift(at, sign int64) int64 {
	if at == 0 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return at + sign*c.offset
}
