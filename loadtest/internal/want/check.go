package want

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/judge"
)

// Outcome is what came of one figure.
type Outcome struct {
	Text string // of the want or the change
	Path string // of the figure, with JSON names in full
	Got  string // with unit, for people; "" if there is none
	// OK is false also for a figure that the run did not measure: who asks for one is not served by a run that has none.
	OK  bool
	Why string // it was not judged: "not judged: …"
	// Time says that the figure is a span of time.
	Time bool

	numbers judge.Numbers
}

// Result is the outcome as a line of the verdict. One that was not judged fails.
func (o Outcome) Result() judge.Result {
	r := judge.Result{Name: "want", Worst: judge.Fail, Got: o.Got, Want: o.Text, Numbers: o.numbers, Why: o.Why}
	if o.Got == "" {
		r.Got = "-"
	}
	if o.Path != "" && !strings.HasPrefix(o.Text, o.Path) {
		r.Got += " (" + o.Path + ")"
	}
	if !o.OK {
		r.Verdict = judge.Fail
	}
	return r
}

// Check judges a report: a struct of the schema's type, or its JSON as json.RawMessage. There is an outcome for every want, in
// their order, and for every element that a * of it means. An error is one of writing or reading JSON.
func (l Wants) Check(report any) (outcomes []Outcome, err error) {
	root, err := tree(report)
	if err != nil {
		return nil, err
	}
	for _, w := range l {
		for _, f := range find(root, w.steps) {
			outcomes = append(outcomes, w.judge(f))
		}
	}
	return outcomes, nil
}

// Check judges a report by one want.
func (w Want) Check(report any) ([]Outcome, error) { return Wants{w}.Check(report) }

func (w Want) judge(f found) Outcome {
	o := Outcome{Text: w.Text, Path: f.path}
	if f.why != "" {
		o.Why = notJudged + f.why
		return o
	}
	limit, err := w.value.in(f.unit)
	if err != nil {
		o.Why = notJudged + err.Error()
		return o
	}
	o.Got, o.OK, o.Time = f.text(), w.Op.holds(f.number, limit), f.unit.dimension == span
	o.numbers = numbers(f, w.Op, limit)
	return o
}

// notJudged begins each reason.
const notJudged = "not judged: "

// numbers are those of an outcome. The limit of < and > is the last value that is not good.
func numbers(f found, op Operator, limit float64) (n judge.Numbers) {
	got, name := f.unit.numberIn(f.number)
	limit, _ = f.unit.numberIn(limit)
	n.GotValue, n.Unit = &got, name
	if op == Less || op == AtMost || op == Equal {
		n.WantMax = &limit
	}
	if op == More || op == AtLeast || op == Equal {
		n.WantMin = &limit
	}
	return n
}

// tree is a report as its JSON has it.
func tree(report any) (root map[string]any, err error) {
	text, ok := report.(json.RawMessage)
	if !ok {
		if text, err = json.Marshal(report); err != nil {
			return nil, fmt.Errorf("a report: %w", err)
		}
	}
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("a report: %w", err)
	}
	return root, nil
}

// found is a figure of a report, or why there is none.
type found struct {
	path   string
	number float64
	unit   unit
	note   string // on the number
	why    string
}

func (f found) text() string { return f.unit.text(f.number) + f.note }

// find looks a figure up. There are as many as the stars of the path mean, and at least one, which may say why there is none.
func find(root map[string]any, steps []step) []found {
	l := &lookup{root: root, steps: steps}
	l.at(root, nil, 0, nil)
	return l.found
}

type lookup struct {
	root  map[string]any
	steps []step
	found []found
}

// at goes on from a value of the report. parent is the object that the value is a field of.
func (l *lookup) at(v any, parent map[string]any, i int, taken []step) {
	if i == len(l.steps) {
		l.take(v, parent, taken)
		return
	}
	s := l.steps[i]
	if v == nil {
		l.none(taken, fmt.Sprintf("the run did not measure %s", pathOf(taken)))
		return
	}
	next := func(s step, v any, parent map[string]any) { l.at(v, parent, i+1, append(slices.Clip(taken), s)) }
	switch v := v.(type) {
	case map[string]any:
		switch {
		case s.node.derived != nil:
			l.derive(s, v, append(slices.Clip(taken), s))
		case s.node.name != "":
			f, ok := v[s.node.name]
			if !ok && s.node.absent {
				f = emptyOf(s.node)
			}
			next(s, f, v)
		case s.any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				next(step{node: s.node, key: key}, v[key], nil)
			}
			if len(v) == 0 {
				l.none(taken, fmt.Sprintf("%s has no values", pathOf(taken)))
			}
		default:
			l.key(s, v, next, taken)
		}
	case []any:
		l.element(s, v, next, taken)
	default:
		l.none(taken, fmt.Sprintf("%s is not what this program writes", pathOf(taken)))
	}
}

// emptyOf is what an omitted field was.
func emptyOf(n *node) any {
	switch {
	case n.kind == number:
		return 0.0
	case n.kind == keyed && n.element.absent:
		return map[string]any{} // nothing was counted
	}
	return nil
}

// key looks a value of a map up. A count that is not there is 0.
func (l *lookup) key(s step, v map[string]any, next func(step, any, map[string]any), taken []step) {
	f, ok := v[s.key]
	keys := strings.Join(slices.Sorted(maps.Keys(v)), ", ")
	switch {
	case ok:
		next(s, f, nil)
	case s.node.absent:
		note := ""
		if keys != "" {
			note = " (there were " + keys + ")"
		}
		l.found = append(l.found, found{path: pathOf(append(slices.Clip(taken), s)), note: note})
	default:
		l.missing(s, keys, taken)
	}
}

// element looks an element of a list up by its name.
func (l *lookup) element(s step, v []any, next func(step, any, map[string]any), taken []step) {
	var names []string
	hit := false
	for _, e := range v {
		o, _ := e.(map[string]any)
		name, _ := o["name"].(string)
		names = append(names, name)
		if s.any || name == s.key {
			hit = true
			next(step{node: s.node, key: name}, e, nil)
		}
	}
	if hit {
		return
	}
	l.missing(s, strings.Join(names, ", "), taken)
}

func (l *lookup) missing(s step, names string, taken []step) {
	switch {
	case names == "":
		l.none(taken, fmt.Sprintf("the run has no %s", pathOf(taken)))
	default:
		l.none(taken, fmt.Sprintf("%s has no %q, but %s", pathOf(taken), s.key, names))
	}
}

func (l *lookup) none(taken []step, why string) {
	path := pathOf(append(slices.Clip(taken), l.steps[len(taken):]...))
	l.found = append(l.found, found{path: path, why: why})
}

// take has come to the figure.
func (l *lookup) take(v any, parent map[string]any, taken []step) {
	n := last(taken)
	f := found{path: pathOf(taken), unit: n.unit}
	number, ok := v.(float64)
	of, counted := parent[n.of].(float64)
	switch {
	case !ok:
		f.why = "the run did not measure it"
	case n.never && number == 0:
		f.why = "it did not happen"
	case counted && of == 0:
		f.why = n.of + " is 0"
	}
	if n.beside {
		name, _ := parent["unit"].(string)
		f.unit = unitOf(name)
	}
	f.number = number
	l.found = append(l.found, f)
}

// derive computes a figure of others.
func (l *lookup) derive(s step, v map[string]any, taken []step) {
	f := found{path: pathOf(taken), unit: s.node.unit}
	f.number, f.why = s.node.derived.of(v, l.root)
	l.found = append(l.found, f)
}

// figure is one that a report does not have, but follows from what it has.
type figure struct {
	name string
	unit unit
	// of computes it for the report or a part of it, or says why it cannot.
	of func(part, report map[string]any) (float64, string)
}

var figures = []figure{
	{"errors", unit{percent, 1, "percent"}, func(part, _ map[string]any) (float64, string) {
		sent, ok := at(part, "requests", "sent")
		if !ok || sent == 0 {
			return 0, "no request was sent"
		}
		failed, _ := at(part, "requests", "failed")
		lost, _ := at(part, "requests", "lost")
		return 100 * (failed + lost) / sent, ""
	}},
	{"rate", unit{pace, 1, "per_second"}, func(part, report map[string]any) (float64, string) {
		answered, ok := at(part, "requests", "answered")
		seconds, _ := at(report, "plan", "hold_s")
		if !ok || seconds == 0 {
			return 0, "the run did not hold"
		}
		return answered / seconds, ""
	}},
}

// in reports whether a place of a schema has what the figures are computed of.
func (f *figure) in(n *node) bool {
	requests := n.field("requests")
	if requests == nil {
		return false
	}
	for _, name := range []string{"sent", "answered", "failed", "lost"} {
		if requests.field(name) == nil {
			return false
		}
	}
	return true
}

// at is a number of a report.
func at(o map[string]any, object, field string) (float64, bool) {
	inner, _ := o[object].(map[string]any)
	n, ok := inner[field].(float64)
	return n, ok
}
