package loadtest

import (
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
)

// Quantiles is the shape of a latency distribution, in microseconds.
type Quantiles struct {
	Count int64   `json:"count"`
	Min   int64   `json:"min" unit:"us" of:"count"`
	Mean  float64 `json:"mean" unit:"us" of:"count"`
	P50   int64   `json:"p50" unit:"us" of:"count"`
	P90   int64   `json:"p90" unit:"us" of:"count"`
	P99   int64   `json:"p99" unit:"us" of:"count"`
	P999  int64   `json:"p999" unit:"us" of:"count"`
	Max   int64   `json:"max" unit:"us" of:"count"`
}

func quantiles(h *hdrhistogram.Histogram) Quantiles {
	return Quantiles{
		Count: h.TotalCount(), Min: h.Min(), Mean: math.Round(h.Mean()*10) / 10,
		P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90), P99: h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9), Max: h.Max(),
	}
}

// Windows with fewer answers of a node say nothing about its mean, and fewer windows nothing about
// the run.
const (
	minPerWindow = 20
	minWindows   = 5
)

// betweenNodesCV is the "latency variance": how much the nodes' latencies differ, as the
// coefficient of variation in percent, with what drifts over time and hits all nodes alike taken
// out:
//
//	r(n,w) = mean latency of node n in window w ÷ mean of these over all nodes
//	m(n)   = median of r(n,w) over the windows
//	CV     = standard deviation of m ÷ mean of m
//
// windows is how many windows had answers enough from every node; only those count.
func betweenNodesCV(nodes []*latency.Recording) (percent float64, windows int) {
	ratios := make([][]float64, len(nodes))
	means := make([]float64, len(nodes))
	for w := 0; ; w++ {
		some, enough, sum := false, true, 0.0
		for i, n := range nodes {
			if w >= len(n.Windows) {
				enough = false
				continue
			}
			some = true
			c := n.Windows[w]
			enough = enough && c.Count >= minPerWindow
			if c.Count > 0 {
				means[i] = float64(c.Sum) / float64(c.Count)
				sum += means[i]
			}
		}
		if !some {
			break
		}
		if !enough || sum == 0 {
			continue
		}
		windows++
		for i := range nodes {
			ratios[i] = append(ratios[i], means[i]*float64(len(nodes))/sum)
		}
	}
	if windows == 0 {
		return 0, 0
	}
	medians := make([]float64, len(nodes))
	for i := range nodes {
		medians[i] = median(ratios[i])
	}
	return 100 * variation(medians), windows
}

// median sorts v.
func median(v []float64) float64 {
	slices.Sort(v)
	half := len(v) / 2
	if len(v)%2 == 1 {
		return v[half]
	}
	return (v[half-1] + v[half]) / 2
}

// variation is the coefficient of variation of a whole population.
func variation(v []float64) float64 {
	mean := 0.0
	for _, x := range v {
		mean += x
	}
	mean /= float64(len(v))
	sum := 0.0
	for _, x := range v {
		sum += (x - mean) * (x - mean)
	}
	if mean == 0 {
		return 0
	}
	return math.Sqrt(sum/float64(len(v))) / mean
}
