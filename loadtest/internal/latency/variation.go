package latency

import (
	"math"
	"slices"
)

// Windows with fewer answers of a node say nothing about its mean, and fewer windows nothing about
// the run.
const (
	MinPerWindow = 20
	MinWindows   = 5
)

// BetweenNodesCV is the "latency variance": how much the nodes' latencies differ, as the
// coefficient of variation in percent, with what drifts over time and hits all nodes alike taken
// out:
//
//	r(n,w) = mean latency of node n in window w ÷ mean of these over all nodes
//	m(n)   = median of r(n,w) over the windows
//	CV     = standard deviation of m ÷ mean of m
//
// windows is how many windows had answers enough from every node; only those count.
func BetweenNodesCV(nodes []*Recording) (percent float64, windows int) {
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
			enough = enough && c.Count >= MinPerWindow
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
