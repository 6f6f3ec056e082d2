package proxy

import "time"

// health tells from a row of check results whether a node is up. The zero health is down and has
// seen nothing; its first result alone decides.
type health struct {
	up      bool
	checked bool
	against int // results in a row that disagree with up
}

// observe takes one result and reports whether the node changed sides.
func (h *health) observe(ok bool, c *Checks) (changed bool) {
	first := !h.checked
	h.checked = true
	if ok == h.up {
		h.against = 0
		return false
	}
	h.against++
	enough := c.Fall
	if ok {
		enough = c.Rise
	}
	if !first && h.against < enough {
		return false
	}
	h.up, h.against = ok, 0
	return true
}

// doubt lets a suspicion count as one failed check of a node that is up and was well so far. It
// never marks a node down: that takes a check.
func (h *health) doubt(c *Checks) {
	if h.up {
		h.against = max(h.against, min(1, c.Fall-1))
	}
}

// condemn marks the node down without a check and reports whether it was up.
func (h *health) condemn() (changed bool) {
	changed = h.up
	h.up, h.against = false, 0
	return changed
}

// settled reports that the last result agrees with the node's state.
func (h *health) settled() bool { return h.checked && h.against == 0 }

// Weights on the board are in 1/256 of a unit.
const weightUnit = 256

// rampWeight is the weight, in 1/256 of a unit, of a node that came up elapsed ago and grows
// linearly to weight units over slowStart. It begins at 1/256 of its weight.
func rampWeight(weight int, elapsed, slowStart time.Duration) uint32 {
	full := weight * weightUnit
	if elapsed >= slowStart {
		return uint32(full)
	}
	grown := float64(full) * float64(elapsed) / float64(slowStart)
	return uint32(max(weight, int(grown)))
}
