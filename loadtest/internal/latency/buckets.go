package latency

import (
	"math"
	"math/bits"
)

// Buckets are a coarse histogram that is small enough to travel several times a second: how many answers took as long as each
// bucket says, up to the last one that is not empty. Those of several agents add up, and the difference of two moments is what
// came between them.
type Buckets []uint64

// A bucket is an eighth of a power of two of microseconds wide: a quantile is exact to one part in eight.
const eighths = 3

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

// Record enters a span of d nanoseconds.
func (b *Buckets) Record(d int64) {
	at := bucketOf(d / 1000)
	b.grow(at + 1)
	(*b)[at]++
}

func (b *Buckets) grow(n int) {
	if n > len(*b) {
		*b = append(*b, make(Buckets, n-len(*b))...)
	}
}

// Plus is the sum; neither of the two is changed.
func (b Buckets) Plus(o Buckets) Buckets {
	if len(o) == 0 {
		return b
	}
	sum := make(Buckets, max(len(b), len(o)))
	copy(sum, b)
	for i, n := range o {
		sum[i] += n
	}
	return sum
}

// Minus is what has come since o.
func (b Buckets) Minus(o Buckets) Buckets {
	d := append(Buckets(nil), b...)
	for i := range min(len(d), len(o)) {
		d[i] -= min(o[i], d[i])
	}
	return d
}

// Count is how many answers there are.
func (b Buckets) Count() (n uint64) {
	for _, c := range b {
		n += c
	}
	return n
}

// Quantile is how long, in microseconds, that part of the answers took at most; 0 without any.
func (b Buckets) Quantile(part float64) int64 {
	rank, below := uint64(math.Ceil(part*float64(b.Count()))), uint64(0)
	for bucket, n := range b {
		if below += n; n > 0 && below >= rank {
			return upTo(bucket)
		}
	}
	return 0
}

// Mean is about how long, in microseconds, the answers took on average; 0 without any.
func (b Buckets) Mean() float64 {
	sum, count := 0.0, 0.0
	for bucket, n := range b {
		from := int64(0)
		if bucket > 0 {
			from = upTo(bucket-1) + 1
		}
		sum += float64(n) * float64(from+upTo(bucket)) / 2
		count += float64(n)
	}
	if count == 0 {
		return 0
	}
	return sum / count
}
