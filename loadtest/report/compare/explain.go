package compare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/loadtest"
)

// warnings are why two sides may not be of the same thing.
func warnings(base, other Side) (all []string) {
	for _, what := range []struct {
		name string
		of   func(*loadtest.Report) string
	}{
		{"target", func(r *loadtest.Report) string { return r.Target }},
		{"driver", func(r *loadtest.Report) string { return r.Driver }},
		{"connections", func(r *loadtest.Report) string { return fmt.Sprint(r.Plan.Connections) }},
		{"length of the hold", func(r *loadtest.Report) string { return fmt.Sprintf("%g s", r.Plan.HoldS) }},
		{"requests planned", func(r *loadtest.Report) string { return fmt.Sprintf("%g/s", r.Plan.PingsPerSecond) }},
		{"machine", func(r *loadtest.Report) string {
			return strings.TrimSpace(fmt.Sprintf("%s %d × %s", r.Host.Kernel, r.Host.CPUs, r.Host.CPU))
		}},
		{"transports", func(r *loadtest.Report) string {
			var names []string
			for _, p := range r.Parts {
				names = append(names, p.Name)
			}
			return strings.Join(names, ", ")
		}},
	} {
		a, b := distinct(base.Runs, what.of), distinct(other.Runs, what.of)
		if !slices.Equal(a, b) || len(a) > 1 {
			all = append(all, fmt.Sprintf("the runs differ in %s: %s and %s", what.name, strings.Join(a, " or "), strings.Join(b, " or ")))
		}
	}
	for _, s := range []Side{base, other} {
		for _, v := range []loadtest.Verdict{loadtest.Inconclusive, loadtest.Interrupted} {
			n := 0
			for _, r := range s.Runs {
				if r.Verdict == v {
					n++
				}
			}
			if n > 0 {
				all = append(all, fmt.Sprintf("%d of %d runs of %s ended %s", n, len(s.Runs), s.Name, v))
			}
		}
	}
	return all
}

// distinct are the values that a side has, sorted.
func distinct(runs []*loadtest.Report, of func(*loadtest.Report) string) (all []string) {
	for _, r := range runs {
		v := of(r)
		if v == "" {
			v = "–"
		}
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return all
}

// explain adds what readers have to know of how it was judged.
func (c *Comparison) explain(n, m int) {
	unknown, equal := 0, 0
	ways := make(map[Noise]bool)
	for _, r := range c.Rows {
		ways[r.Noise] = true
		switch {
		case r.Noise == Unknown && r.Base == r.New:
			equal++
		case r.Noise == Unknown:
			unknown++
		}
	}
	note := func(format string, args ...any) { c.Notes = append(c.Notes, fmt.Sprintf(format, args...)) }
	switch {
	case len(c.Rows) == 0:
		note("the sides have no figure in common")
	case !c.judged():
		note("nothing is marked, for the noise is not known: there are neither repeats on both sides nor %d points or more of the hold; repeat each run", shortest)
	case unknown > 0:
		note("the noise of %d figures is not known (?): they are not marked, whatever they are", unknown)
	}
	if ways[ByBlocks] {
		note("single runs are compared by the noise within them, and with what is assumed to lie between runs (%g %% of the value, %g %% of rates); repeat each run to see smaller differences",
			100*assumedOther, 100*assumedRate)
	}
	if ways[ByRepeats] && n > 1 && m > 1 {
		enough := n
		for leastP(enough, enough) > c.Alpha/float64(len(c.Rows)-unknown-equal) {
			enough++
		}
		note("these are few repeats: differences are judged by how much repeats vary (Welch's t-test); from %d runs a side on it is by ranks, which assumes less", enough)
	}
	if !c.judged() {
		return
	}
	note("the chance that anything is marked where nothing differs is at most %g %% (Holm's correction for %d figures)", 100*c.Alpha, len(c.Rows)-unknown-equal)
}
