package want

import (
	"fmt"
	"math"
	"strings"
)

// Change is a difference between two reports that is not to be, as in
//
//	latency.p99>+10%   10 % more than in the base
//	rate<-5%           5 % less
//	latency.p99>+5ms   5 ms more
//	errors>+0.1pp      0.1 percentage points more, for figures that are percentages
//	latency.p99>50ms   more than 50 ms, whatever the base has
type Change struct {
	Text string
	Op   Operator

	steps []step
	by    by
	value value
}

// by is how the value of a change counts.
type by int

const (
	absolute   by = iota
	part          // percent of the base
	difference    // from the base
)

// Changes are several.
type Changes []Change

// ParseChange reads one condition to fail. Errors are as those of Parse.
func (s *Schema) ParseChange(text string) (Change, error) {
	e, err := s.parse(text)
	if err != nil {
		return Change{}, err
	}
	c := Change{Text: e.text, Op: e.op, steps: e.steps}
	written := e.value
	if written[0] == '+' || written[0] == '-' {
		if points, ok := strings.CutSuffix(written, "pp"); ok && last(e.steps).unit.dimension == percent {
			written, c.by = points, difference
		} else if strings.HasSuffix(written, "%") {
			c.by = part
			c.value, err = parseValue(written, percent)
			if err != nil {
				err = fmt.Errorf("%q: %w", e.text, err)
			}
			return c, err
		} else {
			c.by = difference
		}
	}
	c.value, err = e.read(written)
	return c, err
}

// ParseChanges reads conditions with commas between them.
func (s *Schema) ParseChanges(text string) (changes Changes, err error) {
	for _, one := range split(text) {
		c, err := s.ParseChange(one)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// Path is the figure's, with JSON names in full.
func (c Change) Path() string { return pathOf(c.steps) }

// Check compares a report with its base, each a struct of the schema's type or its JSON as json.RawMessage. An outcome is OK when
// the condition to fail is not met. A figure that either run did not measure is not OK.
func (l Changes) Check(base, report any) (outcomes []Outcome, err error) {
	before, err := tree(base)
	if err != nil {
		return nil, err
	}
	after, err := tree(report)
	if err != nil {
		return nil, err
	}
	for _, c := range l {
		old := make(map[string]found)
		for _, f := range find(before, c.steps) {
			old[f.path] = f
		}
		for _, f := range find(after, c.steps) {
			b, ok := old[f.path]
			if !ok {
				b.why = "the base has no such figure"
			}
			outcomes = append(outcomes, c.judge(b, f))
		}
	}
	return outcomes, nil
}

func (c Change) judge(base, f found) Outcome {
	o := Outcome{Text: c.Text, Path: f.path}
	limit, err := c.value.in(f.unit)
	if c.by == part {
		limit, err = c.value.number, nil
	}
	switch {
	case f.why != "":
		o.Why = notJudged + f.why
	case c.by != absolute && base.why != "":
		o.Why = notJudged + "the base: " + base.why
	case c.by != absolute && base.unit != f.unit:
		o.Why = notJudged + "the base has it in another unit"
	case err != nil:
		o.Why = notJudged + err.Error()
	}
	if o.Why != "" {
		return o
	}
	o.Got = f.text()
	switch c.by {
	case part:
		limit = base.number * (1 + limit/100)
	case difference:
		limit += base.number
	}
	if c.by != absolute {
		o.Got += ", before " + base.text()
		if base.number != 0 {
			o.Got += fmt.Sprintf(" (%+.1f %%)", 100*(f.number-base.number)/math.Abs(base.number))
		}
	}
	o.OK = !c.Op.holds(f.number, limit)
	return o
}
