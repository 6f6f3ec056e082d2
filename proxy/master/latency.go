package master

import "github.com/erlmcp/erlmcp/proxy"

// latencySince is the distribution of what a histogram (see board.ConnectBuckets) counted since
// before, which may be nil.
func latencySince(before, now []uint64) proxy.Latency {
	counts := make([]uint64, len(now))
	var l proxy.Latency
	var sum float64
	for i, n := range now {
		if before != nil {
			n -= min(n, before[i])
		}
		low, high := bucketEdges(i)
		counts[i] = n
		l.Count += n
		sum += float64(n) * (low + high) / 2
	}
	if l.Count == 0 {
		return proxy.Latency{}
	}
	l.Mean = sum / float64(l.Count)
	l.P50, l.P90, l.P99 = quantile(counts, l.Count, 0.50), quantile(counts, l.Count, 0.90), quantile(counts, l.Count, 0.99)
	return l
}

// quantile finds the bucket that holds the q-th part of total and goes as far into it as needed.
func quantile(counts []uint64, total uint64, q float64) float64 {
	rank := q * float64(total)
	var below float64
	for i, n := range counts {
		if n > 0 && below+float64(n) >= rank {
			low, high := bucketEdges(i)
			return low + (high-low)*(rank-below)/float64(n)
		}
		below += float64(n)
	}
	_, high := bucketEdges(len(counts) - 1)
	return high
}

// bucketEdges are the times in µs a bucket begins and ends with.
func bucketEdges(i int) (low, high float64) {
	if i == 0 {
		return 0, 1
	}
	return float64(uint64(1) << (i - 1)), float64(uint64(1) << i)
}
