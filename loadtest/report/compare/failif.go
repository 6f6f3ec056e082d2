package compare

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/internal/nearest"
	"github.com/erlmcp/erlmcp/loadtest/report"
)

// Limit is how much a figure may change, such as latency.p99>+10%: by more than a tenth is too much.
type Limit struct {
	Text   string
	figure string
	over   bool    // too much is above, not below
	change float64 // in percent of the base, or in the unit
	unit   string  // that was given; empty: the figure's own
}

var limitForm = regexp.MustCompile(`^\s*([^<>\s]+)\s*([<>])\s*([+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(%|us|µs|ms|s|/s|KiB|MiB|GiB)?\s*$`)

// measures are the units of limits, and how many of them make one of the figures' units.
var measures = map[string]map[string]float64{
	"us":  {report.Micros: 1, report.Millis: 1e3},
	"µs":  {report.Micros: 1, report.Millis: 1e3},
	"ms":  {report.Micros: 1e-3, report.Millis: 1},
	"s":   {report.Micros: 1e-6, report.Millis: 1e-3},
	"/s":  {report.PerSecond: 1},
	"KiB": {report.Bytes: 1.0 / (1 << 10)},
	"MiB": {report.Bytes: 1.0 / (1 << 20)},
	"GiB": {report.Bytes: 1.0 / (1 << 30)},
}

// ParseLimit reads FIGURE>CHANGE or FIGURE<CHANGE, with the change in percent of the base or in a unit: latency.p99>+10%,
// rate<-5%, memory.balancer>+20MiB, errors>+0.5.
func ParseLimit(text string) (Limit, error) {
	text = strings.TrimSpace(text)
	m := limitForm.FindStringSubmatch(text)
	if m == nil {
		return Limit{}, fmt.Errorf("%q is no limit of a change (such as latency.p99>+10%% or rate<-5%%)", text)
	}
	change, err := strconv.ParseFloat(m[3], 64)
	if err != nil {
		return Limit{}, fmt.Errorf("%q: %s is no number", text, m[3])
	}
	l := Limit{Text: text, figure: m[1], over: m[2] == ">", change: change, unit: m[4]}
	if l.over && change < 0 || !l.over && change > 0 {
		return Limit{}, fmt.Errorf("%q would allow no change at all: an increase is > with a number above zero, a decrease < with one below", text)
	}
	return l, nil
}

// ErrNoFigure is wrapped by errors of Exceeds about figures that were not compared.
var ErrNoFigure = errors.New("is no figure of both sides")

// Exceeds reports whether a figure has changed by more than it may, and by more than the noise. Otherwise why says what keeps
// it from failing, if it was over the limit.
func (c *Comparison) Exceeds(l Limit) (exceeds bool, why string, err error) {
	var names []string
	for i := range c.Rows {
		row := &c.Rows[i]
		if row.Path == l.figure {
			return row.exceeds(l)
		}
		names = append(names, row.Path)
	}
	err = fmt.Errorf("%s: %s %w", l.Text, l.figure, ErrNoFigure)
	if near := nearest.Find(l.figure, names); near != "" {
		return false, "", fmt.Errorf("%w; did you mean %s?", err, near)
	}
	return false, "", fmt.Errorf("%w; there are: %s", err, strings.Join(names, ", "))
}

func (r *Row) exceeds(l Limit) (exceeds bool, why string, err error) {
	change := r.New - r.Base
	switch l.unit {
	case "":
	case "%":
		if r.Base == 0 { // any change is more than any part of nothing
			change *= math.Inf(1)
			break
		}
		change *= 100 / math.Abs(r.Base)
	default:
		factor, ok := measures[l.unit][r.Unit]
		if !ok {
			return false, "", fmt.Errorf("%s: %s is not told in %s", l.Text, l.figure, l.unit)
		}
		change *= factor
	}
	if math.IsNaN(change) || l.over && change <= l.change || !l.over && change >= l.change {
		return false, "", nil
	}
	became := fmt.Sprintf("%s: %s became %s", l.Text, r.BaseText(), r.NewText())
	switch {
	case r.Mark != Same:
		return true, became + " (" + r.ChangeText() + ")", nil
	case r.Noise == Unknown:
		return false, became + ", but the noise is not known; repeat the runs", nil
	}
	return false, became + ", which is within the noise", nil
}
