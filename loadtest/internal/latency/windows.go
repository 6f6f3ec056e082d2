package latency

import (
	"slices"
	"time"
)

// Cell is what was measured in one window: of one node, or of all of them together. Cells of several agents add up exactly.
type Cell struct {
	Count int64 `json:"n"`  // answers
	Sum   int64 `json:"us"` // microseconds that they took together

	// Of all nodes together. What was due and is neither answered nor failed is still under way.
	Due    int64   `json:"due,omitempty"`    // requests
	Failed int64   `json:"failed,omitempty"` // of these, without a good answer: refused, lost, or there was no connection to send them over
	Slow   []int64 `json:"slow,omitempty"`   // of the answers, those that took longer than each limit
}

// Record enters an answer that took so many nanoseconds. limits are in microseconds.
func (c *Cell) Record(took int64, limits []int64) {
	us := took / int64(time.Microsecond)
	c.Count++
	c.Sum += us
	if c.Slow == nil && len(limits) > 0 {
		c.Slow = make([]int64, len(limits))
	}
	for i, limit := range limits {
		if us > limit {
			c.Slow[i]++
		}
	}
}

// Plus is the sum; neither of the two is changed.
func (c Cell) Plus(o Cell) Cell {
	sum := Cell{Count: c.Count + o.Count, Sum: c.Sum + o.Sum, Due: c.Due + o.Due, Failed: c.Failed + o.Failed, Slow: slices.Clone(c.Slow)}
	if n := len(o.Slow) - len(sum.Slow); n > 0 {
		sum.Slow = append(sum.Slow, make([]int64, n)...)
	}
	for i, n := range o.Slow {
		sum.Slow[i] += n
	}
	return sum
}

// windowLength is how long a node's latency is averaged before it is compared with the others'.
const windowLength = time.Second

// Windows are cells one after the other: by (instant when a request was due − start of recording) ÷ windowLength.
type Windows []Cell

// At is the cell of what was due so many nanoseconds after the start of recording. It is valid until the next call.
func (w *Windows) At(due int64) *Cell {
	at := int(max(due, 0) / int64(windowLength))
	if at >= len(*w) {
		*w = append(*w, make(Windows, at+1-len(*w))...)
	}
	return &(*w)[at]
}

// Plus is the sum; neither of the two is changed.
func (w Windows) Plus(o Windows) Windows {
	sum := make(Windows, max(len(w), len(o)))
	for i := range sum {
		if i < len(w) {
			sum[i] = w[i]
		}
		if i < len(o) {
			sum[i] = sum[i].Plus(o[i])
		}
	}
	return sum
}
