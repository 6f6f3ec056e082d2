package latency

import (
	"math"
	"math/bits"
	"time"
)

// Curve is how latencies changed over time: a coarse histogram of each span of it. The spans get longer as the curve does, so
// that it has no more than maxSpans. Curves of several agents add up exactly.
type Curve struct {
	Seconds int    `json:"seconds"` // of a span: a power of two
	Spans   []Span `json:"spans"`   // one behind the other, from the start of recording on
}

// Span is one span: how many answers took as long as each bucket says.
type Span struct {
	Counts []uint32 `json:"counts"` // by bucket, up to the last one that is not empty
}

const (
	maxSpans = 512
	// Buckets are an eighth of a power of two of microseconds wide: a quantile is exact to 9 per cent.
	eighths = 3
)

// NewCurve is an empty one.
func NewCurve() *Curve { return &Curve{Seconds: 1} }

// bucketOf is where a latency of so many microseconds is counted.
func bucketOf(us int64) int {
	us = min(max(us, 1), longest)
	exponent := max(bits.Len64(uint64(us))-1-eighths, 0)
	return exponent<<eighths + int(us>>exponent)
}

// upTo is the longest latency that is counted in a bucket.
func upTo(bucket int) int64 {
	exponent := max(bucket>>eighths-1, 0)
	return (int64(bucket-exponent<<eighths)+1)<<exponent - 1
}

// Record enters an answer, see [Recording.Record].
func (c *Curve) Record(scheduled, took int64) {
	c.add(int(scheduled/int64(time.Second)), bucketOf(took/int64(time.Microsecond)), 1)
}

// add enters n answers that were due in a second.
func (c *Curve) add(second, bucket int, n uint32) {
	for second/c.Seconds >= maxSpans {
		c.coarsen()
	}
	at := second / c.Seconds
	for len(c.Spans) <= at {
		c.Spans = append(c.Spans, Span{})
	}
	c.Spans[at].add(bucket, n)
}

func (s *Span) add(bucket int, n uint32) {
	if bucket >= len(s.Counts) {
		s.Counts = append(s.Counts, make([]uint32, bucket+1-len(s.Counts))...)
	}
	s.Counts[bucket] += n
}

// coarsen makes spans twice as long.
func (c *Curve) coarsen() {
	c.Seconds *= 2
	for i := range c.Spans {
		if i%2 == 0 {
			c.Spans[i/2] = c.Spans[i]
			continue
		}
		c.Spans[i/2].merge(c.Spans[i])
	}
	c.Spans = c.Spans[:(len(c.Spans)+1)/2]
}

func (s *Span) merge(o Span) {
	for bucket, n := range o.Counts {
		if n > 0 {
			s.add(bucket, n)
		}
	}
}

// Merge adds what another agent has recorded.
func (c *Curve) Merge(o *Curve) {
	for c.Seconds < o.Seconds {
		c.coarsen()
	}
	for i, s := range o.Spans {
		for bucket, n := range s.Counts {
			if n > 0 {
				c.add(i*o.Seconds, bucket, n)
			}
		}
	}
}

// Sensible reports whether a curve that has come from elsewhere is one.
func (c *Curve) Sensible() bool {
	if c.Seconds < 1 || c.Seconds > 1<<20 || bits.OnesCount(uint(c.Seconds)) != 1 || len(c.Spans) > maxSpans {
		return false
	}
	for _, s := range c.Spans {
		if len(s.Counts) > bucketOf(longest)+1 {
			return false
		}
	}
	return true
}

// Quantile is how long, in microseconds, that part of the answers took at most; 0 without any.
func (s Span) Quantile(part float64) int64 {
	total := uint64(0)
	for _, n := range s.Counts {
		total += uint64(n)
	}
	rank, below := uint64(math.Ceil(part*float64(total))), uint64(0)
	for bucket, n := range s.Counts {
		if below += uint64(n); n > 0 && below >= rank {
			return upTo(bucket)
		}
	}
	return 0
}
