package chart

import "math"

// limits are the lowest and the highest of some values.
type limits struct{ low, high float64 }

func extent() limits { return limits{math.Inf(1), math.Inf(-1)} }

func (l *limits) take(v float64) { l.low, l.high = min(l.low, v), max(l.high, v) }

// scale places values between two coordinates.
type scale struct {
	at    func(float64) float64
	ticks []float64
}

// visible reports whether an axis has a place for a value.
func (a *Axis) visible(v float64) bool { return finite(v) && (a.Kind != Log || v > 0) }

// scale is that of values within l, between the coordinates from and to, with about so many ticks.
func (a *Axis) scale(l limits, from, to float64, ticks int) *scale {
	of := func(v float64) float64 { return v }
	s := new(scale)
	switch a.Kind {
	case Linear:
		l.low = min(l.low, 0)
		if l.high <= l.low {
			l.high = l.low + 1
		}
		step := step(l.high-l.low, ticks)
		l.high = step * math.Ceil(l.high*1.02/step-1e-9)
		l.low = step * math.Floor(l.low/step)
		s.ticks = every(l, step)
	case Span:
		s.ticks = every(l, step(l.high-l.low, ticks))
	case Nines:
		l.low = 0
		s.ticks = every(l, 1)
	case Log:
		of = math.Log10
		l.low, l.high, s.ticks = decades(l)
	}
	low, high := of(l.low), of(l.high)
	s.at = func(v float64) float64 {
		return from + (to-from)*min(max((of(v)-low)/(high-low), 0), 1)
	}
	return s
}

// step is 1, 2 or 5 times a power of ten, so that a range has about n of it.
func step(length float64, n int) float64 {
	raw := length / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5} {
		if raw <= m*power*1.0001 {
			return m * power
		}
	}
	return 10 * power
}

func every(l limits, step float64) (at []float64) {
	first := math.Ceil(l.low/step - 1e-9)
	for i := 0.0; (first+i)*step <= l.high+step*1e-6 && len(at) < 50; i++ {
		at = append(at, (first+i)*step)
	}
	return at
}

// decades is the range of a logarithmic axis: from and to 1, 2 or 5 times a power of ten. If there are many of these, the
// powers alone are ticks.
func decades(l limits) (low, high float64, ticks []float64) {
	var all []float64
	for d := math.Floor(math.Log10(l.low)); d <= math.Log10(l.high)+1 && len(all) < 200; d++ {
		for _, m := range []float64{1, 2, 5} {
			all = append(all, m*math.Pow(10, d))
		}
	}
	for len(all) > 2 && all[1] <= l.low {
		all = all[1:]
	}
	for len(all) > 2 && all[len(all)-2] >= l.high {
		all = all[:len(all)-1]
	}
	low, high = all[0], all[len(all)-1]
	if high/low <= 100 {
		return low, high, all
	}
	for _, v := range all {
		if power := math.Log10(v); math.Abs(power-math.Round(power)) < 1e-6 {
			ticks = append(ticks, v)
		}
	}
	return low, high, ticks
}
