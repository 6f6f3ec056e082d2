// Package latency is what a load test records of how long answers took, and how it travels.
package latency

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept in microseconds, up to a minute, to three significant digits.
const (
	longest = int64(time.Minute / time.Microsecond)
	digits  = 3
)

// NewHistogram is an empty one of latencies.
func NewHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, digits) }

// Record enters a span of d nanoseconds.
func Record(h *hdrhistogram.Histogram, d int64) {
	// In range by construction, so there is no error.
	_ = h.RecordValue(min(max(d/int64(time.Microsecond), 1), longest))
}

// Recording is what was measured of one node.
type Recording struct {
	Histogram *hdrhistogram.Histogram
	Windows   Windows // by when requests were due
}

// New is a recording of nothing yet.
func New() *Recording { return &Recording{Histogram: NewHistogram()} }

// Record enters an answer that was scheduled at the given time after the start of recording. Both
// are in nanoseconds.
func (l *Recording) Record(scheduled, took int64) {
	Record(l.Histogram, took)
	l.Windows.At(scheduled).Record(took, nil)
}

// Merge adds what another agent has recorded of the node.
func (l *Recording) Merge(o *Recording) {
	l.Histogram.Merge(o.Histogram)
	l.Windows = l.Windows.Plus(o.Windows)
}

// Message is a recording on its way to the coordinator.
type Message struct {
	Histogram string  `json:"histogram"` // HdrHistogram V2, compressed, base64
	Windows   Windows `json:"windows,omitempty"`
}

// Encoded is the histogram as text.
func (l *Recording) Encoded() (string, error) {
	encoded, err := l.Histogram.EncodeV2()
	return string(encoded), err
}

// Message is the recording as it travels.
func (l *Recording) Message() (Message, error) {
	encoded, err := l.Encoded()
	return Message{encoded, l.Windows.Plus(nil)}, err
}

// Recording reads the message.
func (m Message) Recording() (*Recording, error) {
	h, err := hdrhistogram.Decode([]byte(m.Histogram))
	if err != nil {
		return nil, fmt.Errorf("histogram of an agent: %w", err)
	}
	return &Recording{h, m.Windows}, nil
}
