package master

import (
	"time"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// health tells from a row of check results what a port is: board.Up, board.Silent or board.Down. The zero
// health has seen nothing and is to be made by newHealth; its first result alone decides.
type health struct {
	state   board.State
	checked bool
	against int // results in a row that disagree with state
}

func newHealth() health { return health{state: board.Down} }

// verdict is the state that a result alone would put a port into. Who gives no answer in time may be busy,
// and who answers no is there: neither has lost what it has, unless checks.give_up wants it so.
func verdict(r healthcheck.Result, c *proxy.Checks) board.State {
	if r.OK {
		return board.Up
	}
	switch r.Cause {
	case healthcheck.CauseTimeout, healthcheck.CauseUnreachable, healthcheck.CauseUnhealthy:
		if c.Keeps() {
			return board.Silent
		}
	}
	return board.Down
}

// observe takes the verdict of one result and reports whether the state is another one now.
func (h *health) observe(to board.State, c *proxy.Checks) (changed bool) {
	first, before := !h.checked, h.state
	h.checked = true
	enough := 1 // nobody is where a silent one was: its failures were enough before
	switch {
	case to == h.state, h.state == board.Down && to == board.Silent && !first:
		h.against = 0
		return false
	case to == board.Up:
		enough = c.Rise
	case h.state == board.Up:
		enough = c.Fall
	}
	h.against++
	if !first && h.against < enough {
		return false
	}
	h.state, h.against = to, 0
	return h.state != before
}

// doubt lets a report of a worker count as one failed check of a port that is up and was well so far. It
// never takes it out: that takes a check.
func (h *health) doubt(c *proxy.Checks) {
	if h.state == board.Up {
		h.against = max(h.against, min(1, c.Fall-1))
	}
}

// condemn marks the port down without a check and reports whether it was not.
func (h *health) condemn() (changed bool) {
	changed = h.state != board.Down
	h.state, h.against = board.Down, 0
	return changed
}

// settled reports that the last result agrees with the state.
func (h *health) settled() bool { return h.checked && h.against == 0 }

// rampWeight is the weight, in 1/256 of a unit, of a node that came up elapsed ago and grows
// linearly to weight units over slowStart. It begins at 1/256 of its weight.
func rampWeight(weight int, elapsed, slowStart time.Duration) uint32 {
	full := weight * policy.WeightUnit
	if elapsed >= slowStart {
		return uint32(full)
	}
	grown := float64(full) * float64(elapsed) / float64(slowStart)
	return uint32(max(weight, int(grown)))
}
