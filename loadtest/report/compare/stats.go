package compare

import (
	"math"
	"slices"
)

// mannWhitney is the two-sided p-value of the rank test of two samples: how likely ranks as uneven as these are if both come
// from the same distribution. It is exact, ties included: all ways to deal the ranks out are counted.
func mannWhitney(a, b []float64) float64 {
	n, m := len(a), len(b)
	ranks := doubledRanks(slices.Concat(a, b))
	observed, total := 0, 0
	for i, r := range ranks {
		total += r
		if i < n {
			observed += r
		}
	}
	// ways[k][s] is in how many ways k of the ranks have the sum s.
	ways := make([][]float64, n+1)
	for k := range ways {
		ways[k] = make([]float64, total+1)
	}
	ways[0][0] = 1
	for _, r := range ranks {
		for k := n; k > 0; k-- {
			for s := total; s >= r; s-- {
				ways[k][s] += ways[k-1][s-r]
			}
		}
	}
	// Twice the distance from the middle, so that it is whole too.
	off := func(s int) int { return abs(s*(n+m) - n*total) }
	extreme, all := 0.0, 0.0
	for s, w := range ways[n] {
		all += w
		if off(s) >= off(observed) {
			extreme += w
		}
	}
	return extreme / all
}

// leastP is the smallest p-value that mannWhitney has for samples of these sizes.
func leastP(n, m int) float64 {
	ways := 1.0
	for i := range min(n, m) {
		ways *= float64(n+m-i) / float64(i+1)
	}
	return 2 / ways
}

func abs(v int) int { return max(v, -v) }

// doubledRanks are twice the ranks, so that those of ties, their mean, are whole.
func doubledRanks(v []float64) []int {
	order := make([]int, len(v))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		switch {
		case v[i] < v[j]:
			return -1
		case v[i] > v[j]:
			return 1
		}
		return 0
	})
	ranks := make([]int, len(v))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && v[order[to]] == v[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			ranks[i] = from + to + 1 // twice the mean of from+1 … to
		}
		from = to
	}
	return ranks
}

// moments are the mean and the variance of a sample.
func moments(v []float64) (mean, variance float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	if len(v) < 2 {
		return mean, 0
	}
	for _, x := range v {
		variance += (x - mean) * (x - mean) / float64(len(v)-1)
	}
	return mean, variance
}

// spread is the variance of one run, and how sure that is.
type spread struct{ variance, freedom float64 }

// and is the spread with a deviation more that is known.
func (s spread) and(deviation float64) spread {
	sum := s.variance + deviation*deviation
	if s.variance == 0 {
		return spread{sum, 1e9}
	}
	return spread{sum, s.freedom * sum * sum / (s.variance * s.variance)}
}

// welch is the two-sided p-value of the difference of two means, of n and m runs with these spreads.
func welch(difference float64, a, b spread, n, m int) float64 {
	va, vb := a.variance/float64(n), b.variance/float64(m)
	if va+vb == 0 {
		if difference == 0 {
			return 1
		}
		return 0
	}
	freedom := (va + vb) * (va + vb) / (va*va/a.freedom + vb*vb/b.freedom)
	return studentP(difference/math.Sqrt(va+vb), freedom)
}

// studentP is the probability that Student's t is as far from zero.
func studentP(t, freedom float64) float64 {
	return incompleteBeta(freedom/2, 0.5, freedom/(freedom+t*t))
}

// incompleteBeta is the regularised incomplete beta function, by its continued fraction (Lentz's method).
func incompleteBeta(a, b, x float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2):
		return 1 - incompleteBeta(b, a, 1-x)
	}
	logGamma := func(v float64) float64 { l, _ := math.Lgamma(v); return l }
	front := math.Exp(a*math.Log(x)+b*math.Log1p(-x)+logGamma(a+b)-logGamma(a)-logGamma(b)) / a
	const tiny = 1e-300
	guard := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/guard(1-(a+b)*x/(a+1))
	f := d
	for i := 1.0; i < 500; i++ {
		even := i * (b - i) * x / ((a + 2*i - 1) * (a + 2*i))
		odd := -(a + i) * (a + b + i) * x / ((a + 2*i) * (a + 2*i + 1))
		d, c = 1/guard(1+even*d), guard(1+even/c)
		f *= d * c
		d, c = 1/guard(1+odd*d), guard(1+odd/c)
		step := d * c
		f *= step
		if math.Abs(step-1) < 1e-13 {
			break
		}
	}
	return front * f
}

// holm marks those of some p-values that hold together: the chance that any of them is by accident is at most alpha.
func holm(p []float64, alpha float64) []bool {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case p[i] < p[j]:
			return -1
		case p[i] > p[j]:
			return 1
		}
		return 0
	})
	held := make([]bool, len(p))
	for i, k := range order {
		if p[k] > alpha/float64(len(p)-i) {
			break
		}
		held[k] = true
	}
	return held
}
