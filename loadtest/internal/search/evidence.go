package search

import "math"

// Batch is what came of the requests that were due in one second.
type Batch struct {
	Due    int64
	Failed int64   // all that were due and had no good answer
	Slow   []int64 // had one, but later than Limits[i].Above allows, by the index of the limit; see Limits.Slow
}

// Breaking is how many requests break the limit with an index.
func (b Batch) Breaking(limits Limits, i int) int64 {
	if limits[i].Above == 0 || i >= len(b.Slow) {
		return b.Failed
	}
	return b.Failed + b.Slow[i]
}

// minGroups is how many groups of seconds it takes to say that a limit holds. Fewer have not seen what comes now and then.
const minGroups = 10

// evidence is what batches say of one limit.
type evidence struct {
	share float64 // of requests that break it
	// How probable it is to see so few of them where the limit is just broken, and so many where it just holds.
	few, many float64
}

// examine says how far it is from chance that at most a share of requests breaks a limit. It is the exact binomial test, with as
// many requests as tell independent things: those of a second are alike (a stall slows all of it), and so are those of
// neighbouring seconds. How alike is seen from groups of seconds, minGroups to twice as many, whose shares differ more than
// chance allows:
//
//	dispersion = Σ (xᵢ − nᵢp)² / (nᵢp(1−p)) / (groups − 1)
//
// The number of requests is divided by that, times what it takes because it is an estimate itself (as Student's t beside the
// normal distribution): so much that a probability of alpha is right.
func examine(batches []Batch, limits Limits, i int, alpha float64) evidence {
	size := max(1, len(batches)/minGroups)
	var groups [][2]float64
	n, x := 0.0, 0.0
	for at, b := range batches {
		if at%size == 0 && at+size <= len(batches) {
			groups = append(groups, [2]float64{})
		}
		g := &groups[len(groups)-1]
		due, bad := float64(b.Due), float64(b.Breaking(limits, i))
		g[0], g[1] = g[0]+due, g[1]+bad
		n, x = n+due, x+bad
	}
	if n == 0 || len(groups) < 2 {
		return evidence{few: 1, many: 1}
	}
	e := evidence{share: x / n, few: 1}
	alike := dispersion(groups, e.share, alpha)
	n, x = n/alike, x/alike
	if len(groups) >= minGroups {
		e.few = atMost(x, n, limits[i].Share)
	}
	e.many = atLeast(x, n, limits[i].Share)
	return e
}

// normal is the quantile of the normal distribution that a probability of that much lies above.
func normal(above float64) float64 { return math.Sqrt2 * math.Erfinv(1-2*above) }

func dispersion(groups [][2]float64, share, alpha float64) float64 {
	if share <= 0 || share >= 1 {
		return 1
	}
	sum, free := 0.0, -1.0
	for _, g := range groups {
		if g[0] > 0 {
			off := g[1] - g[0]*share
			sum += off * off / (g[0] * share * (1 - share))
			free++
		}
	}
	if free < 1 {
		return 1
	}
	z := normal(alpha)
	t := student(z, free) / z
	return max(1, sum/free*t*t)
}

// student is the quantile of Student's t distribution where the normal distribution has z: the expansion of Cornish and Fisher.
func student(z, free float64) float64 {
	z2 := z * z
	return z * (1 + (z2+1)/(4*free) + ((5*z2+16)*z2+3)/(96*free*free) + (((3*z2+19)*z2+17)*z2-15)/(384*free*free*free))
}

// needed is how many requests without a bad one show that a limit holds.
func needed(share, alpha float64) float64 { return math.Log(alpha) / math.Log1p(-share) }

// atMost is the probability of x or fewer bad ones among n when their share is p; x and n need not be whole.
func atMost(x, n, p float64) float64 {
	if x >= n {
		return 1
	}
	return beta(1-p, n-x, x+1)
}

// atLeast is the probability of x or more.
func atLeast(x, n, p float64) float64 {
	if x <= 0 {
		return 1
	}
	return beta(p, x, n-x+1)
}

// beta is the regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz's method).
func beta(x, a, b float64) float64 {
	if x > (a+1)/(a+b+2) {
		return 1 - beta(1-x, b, a)
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(a*math.Log(x)+b*math.Log1p(-x)+lab-la-lb) / a
	const tiny, enough = 1e-300, 1e-13
	fraction, c, d := 1.0, 1.0, 0.0
	for m := range 2000 {
		k := float64(m / 2)
		term := 1.0 // the first
		switch {
		case m > 0 && m%2 == 0:
			term = k * (b - k) * x / ((a + 2*k - 1) * (a + 2*k))
		case m%2 == 1:
			term = -(a + k) * (a + b + k) * x / ((a + 2*k) * (a + 2*k + 1))
		}
		if d = 1 + term*d; math.Abs(d) < tiny {
			d = tiny
		}
		d = 1 / d
		if c = 1 + term/c; math.Abs(c) < tiny {
			c = tiny
		}
		fraction *= c * d
		if math.Abs(1-c*d) < enough {
			break
		}
	}
	return front * (fraction - 1)
}
