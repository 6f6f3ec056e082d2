// Package compare says how runs of load tests differ, and marks only what differs by more than the runs' own noise.
//
// How that noise is known depends on what there is:
//
//   - Repeats enough on both sides: the rank test of Mann and Whitney, with exact p-values. It assumes nothing of the noise.
//     Enough is when it can reach the level at all, after the correction below.
//   - Some repeats: the t-test of Welch, by how much the repeats of a side differ, or the noise within runs as below.
//   - A single run on either side: the hold is cut into blocks of equal length, and the noise of a run is taken to be the standard deviation
//     of its blocks, not divided by their number. For what makes two runs of the same thing differ is slow: a longer
//     run does not average it out, so a single run never becomes as sure of itself as its length suggests. What lies
//     between runs and shows in neither is assumed: 10 % of the value, and 3 % of rates.
//   - None of these: nothing is marked, and the table says so.
//
// Many figures are tested at once, so levels are corrected by Holm's method: the chance that a comparison of the same thing
// marks anything at all is at most Options.Alpha.
package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

// DefaultAlpha is the chance of a comparison to mark something where nothing differs.
const DefaultAlpha = 0.01

const (
	// blocks is into how many a single run's hold is cut, and shortest how many points it must have for half as many.
	blocks   = 10
	shortest = 10
	// mostRuns is how many repeats a side may have.
	mostRuns = 50
	// How much runs of the same thing are taken to differ where neither of two shows it, as a deviation relative to the value:
	// machines are not as fast each time.
	assumedRate, assumedOther = 0.03, 0.1
)

// Side is some runs of the same thing.
type Side struct {
	Name string
	Runs []*loadtest.Report
}

// Options are how to compare; zero is the default.
type Options struct {
	Alpha float64
}

// Mark says how a figure differs.
type Mark string

// The marks. Same is what does not differ, or not by more than the noise.
const (
	Same   Mark = ""
	Better Mark = "better"
	Worse  Mark = "worse"
)

// Noise is how that of a figure is known.
type Noise string

// The ways.
const (
	ByRanks   Noise = "ranks of repeats"
	ByRepeats Noise = "spread of repeats"
	ByBlocks  Noise = "blocks within the runs"
	Unknown   Noise = "not known"
)

// Row compares one figure.
type Row struct {
	Path    string   `json:"figure"`
	Unit    string   `json:"unit,omitempty"`
	Base    float64  `json:"base"` // the median of the runs
	New     float64  `json:"new"`
	Change  *float64 `json:"change_percent"` // nil from zero
	Mark    Mark     `json:"mark,omitempty"`
	Noise   Noise    `json:"noise"`
	P       *float64 `json:"p,omitempty"` // before the correction
	BaseN   int      `json:"base_runs"`
	NewN    int      `json:"new_runs"`
	Smaller bool     `json:"-"` // is better
}

// Comparison is what differs between two sides.
type Comparison struct {
	Schema   string   `json:"schema"`
	Base     string   `json:"base"`
	New      string   `json:"new"`
	Alpha    float64  `json:"alpha"`
	Rows     []Row    `json:"figures"`
	Warnings []string `json:"warnings,omitempty"` // why the sides may not be comparable
	Notes    []string `json:"notes,omitempty"`    // what could not be judged, and why
}

// Schema is the value of Comparison.Schema.
const Schema = "erlmcp.loadtest.compare/v1"

// Compare compares two sides.
func Compare(base, other Side, o Options) (*Comparison, error) {
	if o.Alpha == 0 {
		o.Alpha = DefaultAlpha
	}
	if o.Alpha < 0 || o.Alpha >= 0.5 {
		return nil, fmt.Errorf("alpha %v is not between 0 and 0.5", o.Alpha)
	}
	for _, s := range []Side{base, other} {
		if len(s.Runs) == 0 || len(s.Runs) > mostRuns {
			return nil, fmt.Errorf("%s has %d runs; 1 to %d can be compared", s.Name, len(s.Runs), mostRuns)
		}
	}
	c := &Comparison{Schema: Schema, Base: base.Name, New: other.Name, Alpha: o.Alpha, Warnings: warnings(base, other)}
	var pairs []pair
	after := valuesOf(other.Runs)
	for _, b := range valuesOf(base.Runs) {
		i := slices.IndexFunc(after, func(v values) bool { return v.figure.Path() == b.figure.Path() })
		if i >= 0 && compared(b.figure) {
			pairs = append(pairs, pair{b, after[i]})
		}
	}
	c.judge(pairs)
	c.explain(len(base.Runs), len(other.Runs))
	return c, nil
}

// compared reports whether a figure is one that says how good a system is. Counts of single nodes, what was asked for and
// the extremes, which are the noise itself, are not.
func compared(f report.Figure) bool {
	if f.Better == report.Neither || f.Group == "node" || f.Group == "straight" || f.Group == "cause" {
		return false
	}
	switch f.Name[max(0, len(f.Name)-4):] {
	case ".max", ".min":
		return false
	}
	return !strings.HasSuffix(f.Name, ".stddev")
}

// values are a figure in each run that has it.
type values struct {
	figure report.Figure
	runs   []float64
	within []spread // of those runs that have the figure for each second
}

// pair is a figure on both sides.
type pair struct{ base, other values }

func valuesOf(runs []*loadtest.Report) (all []values) {
	at := make(map[string]int)
	for _, r := range runs {
		seen := make(map[string]bool)
		for _, f := range report.Figures(r) {
			path := f.Path()
			if seen[path] {
				continue
			}
			seen[path] = true
			i, ok := at[path]
			if !ok {
				i = len(all)
				at[path] = i
				all = append(all, values{figure: f})
			}
			all[i].runs = append(all[i].runs, f.Value)
			if s, ok := within(r, path); ok {
				all[i].within = append(all[i].within, s)
			}
		}
	}
	return all
}

// judge fills in the rows: first p-values, then which of them hold together.
func (c *Comparison) judge(pairs []pair) {
	var tested []int
	var p []float64
	varying := 0 // the others need no test, and do not count in the correction
	for _, q := range pairs {
		if !q.constant() {
			varying++
		}
	}
	for _, q := range pairs {
		before, after := middle(q.base.runs), middle(q.other.runs)
		row := Row{
			Path: q.base.figure.Path(), Unit: q.base.figure.Unit, Base: before, New: after, BaseN: len(q.base.runs), NewN: len(q.other.runs),
			Smaller: q.base.figure.Better == report.Lower,
		}
		if before != 0 {
			row.Change = new(100 * (after - before) / math.Abs(before))
		}
		value, noise := q.test(c.Alpha / float64(max(varying, 1)))
		row.Noise = noise
		if noise != Unknown {
			row.P = &value
			tested, p = append(tested, len(c.Rows)), append(p, value)
		}
		c.Rows = append(c.Rows, row)
	}
	for i, held := range holm(p, c.Alpha) {
		if r := &c.Rows[tested[i]]; held && r.Base != r.New {
			r.Mark = Better
			if (r.New > r.Base) == r.Smaller {
				r.Mark = Worse
			}
		}
	}
}

// test is the p-value of a figure, and by what it is known. level is what the rank test has to reach.
func (q *pair) test(level float64) (p float64, by Noise) {
	n, m := len(q.base.runs), len(q.other.runs)
	switch {
	case q.constant():
		return 1, Unknown
	case n == 1 || m == 1:
		return q.byBlocks()
	case leastP(n, m) <= level:
		return mannWhitney(q.base.runs, q.other.runs), ByRanks
	}
	// Of few repeats one that is far off hides much. So the noise within runs is asked, too, and the surer answer counts half.
	p, by = q.byRepeats()
	if within, how := q.byBlocks(); how != Unknown {
		if by == Unknown || within < p {
			p, by = within, how
		}
		p = min(1, 2*p)
	}
	return p, by
}

// constant reports whether all runs of both sides have the same value.
func (q *pair) constant() bool {
	return slices.Min(q.base.runs) == slices.Max(q.other.runs) && slices.Max(q.base.runs) == slices.Min(q.other.runs)
}

// byRepeats goes by how much repeats differ: in proportion, for tails are long, if they are above zero.
func (q *pair) byRepeats() (p float64, by Noise) {
	a, b := q.base.runs, q.other.runs
	if slices.Min(a) > 0 && slices.Min(b) > 0 {
		a, b = logarithms(a), logarithms(b)
	}
	meanA, varianceA := moments(a)
	meanB, varianceB := moments(b)
	if varianceA+varianceB == 0 { // equal counts do not say how they vary
		return 1, Unknown
	}
	return welch(meanB-meanA, spread{varianceA, float64(len(a) - 1)}, spread{varianceB, float64(len(b) - 1)}, len(a), len(b)), ByRepeats
}

func logarithms(v []float64) []float64 {
	logs := make([]float64, len(v))
	for i, x := range v {
		logs[i] = math.Log(x)
	}
	return logs
}

// byBlocks goes by the noise within runs, and what is assumed to be between them. No run may be quieter than another one has
// shown it can be.
func (q *pair) byBlocks() (p float64, by Noise) {
	largest := spread{}
	for _, s := range slices.Concat(q.base.within, q.other.within) {
		if s.variance > largest.variance {
			largest = s
		}
	}
	if largest.variance == 0 { // such as that of errors that no second has
		return 1, Unknown
	}
	for _, v := range [][]float64{q.base.runs, q.other.runs} {
		if _, variance := moments(v); variance > largest.variance {
			largest = spread{variance, float64(len(v) - 1)}
		}
	}
	assumed := assumedOther
	if q.base.figure.Unit == report.PerSecond {
		assumed = assumedRate
	}
	base, _ := moments(q.base.runs)
	other, _ := moments(q.other.runs)
	return welch(other-base, largest.and(assumed*base), largest.and(assumed*other), 1, 1), ByBlocks
}

// middle is the median.
func middle(v []float64) float64 {
	sorted := slices.Sorted(slices.Values(v))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// within is the spread of a figure within the hold of one run, by its blocks.
func within(r *loadtest.Report, path string) (spread, bool) {
	of, ok := columns[path]
	if !ok || r.Series == nil {
		return spread{}, false
	}
	var points []float64
	for i := range r.Series.Points {
		p := &r.Series.Points[i]
		if p.Phase != loadtest.PhaseHold {
			continue
		}
		if v := of(p); !math.IsNaN(v) {
			points = append(points, v)
		}
	}
	if len(points) < shortest {
		return spread{}, false
	}
	n := min(blocks, len(points)/2)
	means := make([]float64, n)
	for i := range n {
		means[i], _ = moments(points[i*len(points)/n : (i+1)*len(points)/n])
	}
	_, variance := moments(means)
	return spread{variance, float64(n - 1)}, true
}

// columns are the figures that a run has for each second, too. Memory is not among them: it is the same all through a run, and
// that says nothing of the next one.
var columns = map[string]func(*series.Point) float64{
	"rate":         func(p *series.Point) float64 { return p.Answers },
	"errors":       errorsPercent,
	"latency.mean": func(p *series.Point) float64 { return orNaN(p.MeanUs) },
	"latency.p50":  func(p *series.Point) float64 { return orNaN(p.P50Us) },
	"latency.p99":  func(p *series.Point) float64 { return orNaN(p.P99Us) },
	"cpu.balancer": func(p *series.Point) float64 { return orNaN(p.BalancerCPU) },
	"cpu.nodes":    func(p *series.Point) float64 { return orNaN(p.NodesCPU) },
	"cpu.agents":   func(p *series.Point) float64 { return orNaN(p.AgentsCPU) },
}

func errorsPercent(p *series.Point) float64 {
	if p.Answers+p.Errors == 0 {
		return math.NaN()
	}
	return 100 * p.Errors / (p.Answers + p.Errors)
}

func orNaN[T int64 | float64](v *T) float64 {
	if v == nil {
		return math.NaN()
	}
	return float64(*v)
}

// Marked are the rows that differ.
func (c *Comparison) Marked() (rows []Row) {
	for _, r := range c.Rows {
		if r.Mark != Same {
			rows = append(rows, r)
		}
	}
	return rows
}
