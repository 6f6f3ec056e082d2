package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report/internal/chart"
)

// page is what the template of a report writes, in its order. Empty parts are left out, or say that there is nothing.
type page struct {
	Head
	Facts    string
	Verdict  loadtest.Verdict
	Sign     string
	Sentence string // what was tested
	Reason   string
	Totals   []total
	Checks   []check
	Advice   []string

	Over  []*chart.Drawing // time
	Marks []moment

	Curves    []*chart.Drawing
	Latencies []*Table

	Failover  *failover
	Search    *search
	Rates     *rates
	Errors    *Table
	Resources []*Table

	Command   string
	Run       []key
	Phases    *Table
	Preflight *Table
	Notes     []string
	Footer    string
}

// total is one of the figures that are told first.
type total struct{ Name, Value, Small string }

// key is something by its name.
type key struct{ Name, Text string }

// moment is a mark with what it means.
type moment struct {
	Number     int
	When, Text string
}

// check is a line of the verdict.
type check struct{ Result, Class, Name, Want, Got, Why string }

// Table is one of a page. Its first column are the heads of rows.
type Table struct {
	Title, Label string
	Columns      []Column
	Rows         [][]Cell
	Note         string
}

// Column is one of a table.
type Column struct {
	Name   string
	Number bool
}

// Cell is one of a table.
type Cell struct {
	Text, Class string
	Head        bool
	Bar         string // how much of 100, if it has one
}

// NewTable is an empty table. Titles are separated by "|"; those with ">" are of numbers.
func NewTable(title, label, titles string) *Table {
	t := &Table{Title: title, Label: label}
	for name := range strings.SplitSeq(titles, "|") {
		plain, numbers := strings.CutPrefix(name, ">")
		t.Columns = append(t.Columns, Column{plain, numbers})
	}
	return t
}

// Row adds a row.
func (t *Table) Row(cells ...string) {
	row := make([]Cell, len(cells))
	for i, text := range cells {
		row[i] = Cell{Text: text, Head: i == 0}
		if t.Columns[i].Number {
			row[i].Class = "num"
		}
	}
	t.Rows = append(t.Rows, row)
}

// orNil is the table, if it has rows.
func (t *Table) orNil() *Table {
	if len(t.Rows) == 0 {
		return nil
	}
	return t
}

func newPage(r *loadtest.Report) *page {
	p := &page{
		Head:    NewHead(fmt.Sprintf("Load test of %s: %s", r.Target, r.Verdict)),
		Facts:   strings.Trim(r.Started.UTC().Format("2006-01-02 15:04:05 UTC")+" · erlmcp "+r.Version, " ·"),
		Verdict: r.Verdict, Sign: map[loadtest.Verdict]string{loadtest.Pass: "✓", loadtest.Fail: "✗", loadtest.Inconclusive: "?", loadtest.Interrupted: "■"}[r.Verdict],
		Sentence: sentence(r), Reason: r.Reason, Totals: totals(r), Checks: checks(r), Advice: r.Advice,
		Curves: curves(r), Latencies: latencyTables(r), Failover: newFailover(r), Search: newSearch(r.Search), Rates: newRates(r.Rates),
		Errors: errorsTable(r), Resources: resourceTables(r),
		Command: quote(r.Command), Run: runKeys(r), Phases: phaseTable(r), Preflight: preflightTable(r),
		Footer: "Written by erlmcp loadtest. The same figures are in report.json (" + r.Schema + "), report.csv, series.csv, report.md and report.prom.",
	}
	p.Over, p.Marks = overTime(r)
	p.Notes = append(p.Notes, r.Notes...)
	if r.Nameless != "" {
		p.Notes = append(p.Notes, "The answers name no node: "+r.Nameless)
	}
	for _, part := range r.Parts {
		if part.Nameless != "" {
			p.Notes = append(p.Notes, fmt.Sprintf("The answers over %s name no node: %s", part.Name, part.Nameless))
		}
	}
	return p
}

func sentence(r *loadtest.Report) string {
	text := fmt.Sprintf("%s connections to %s, held for %s", count(r.Plan.Connections), r.Target, Print(r.Plan.HoldS, Seconds))
	if r.Driver != "" {
		text += ", by the driver " + r.Driver
	}
	if len(r.Parts) > 0 {
		var names []string
		for _, p := range r.Parts {
			names = append(names, p.Name)
		}
		text += ", over " + strings.Join(names, ", ")
	}
	return text + "."
}

// totals are what most look for.
func totals(r *loadtest.Report) (all []total) {
	figures := make(map[string]Figure)
	for _, f := range Figures(r) {
		figures[f.Path()] = f
	}
	show := func(name, path, small string) {
		if f, ok := figures[path]; ok {
			all = append(all, total{name, Print(f.Value, f.Unit), small})
		}
	}
	if c := r.Connections; c != nil {
		show("Connections", "connections.verified", "of "+count(c.Target)+" wanted, "+count(c.Dropped)+" dropped")
	}
	if n := len(r.Nodes); n > 1 || n == 1 && r.Nodes[0].Name != "" {
		small := ""
		if d := r.Distribution; d != nil {
			small = "spread within " + count(d.MaxDeviation) + " connections"
		}
		all = append(all, total{"Nodes", count(n), small})
	}
	show("Answers", "rate", "while all connections were held")
	show("Latency, median", "latency.p50", "")
	show("Latency, p99", "latency.p99", "")
	show("Latency, p99.9", "latency.p999", "")
	if _, ok := figures["latency.p50"]; !ok {
		show("Latency, mean", "latency.mean", "of all nodes")
		show("Latency, longest", "latency.max", "")
	}
	show("Errors", "errors", "of requests")
	if f := r.Failover; f != nil {
		show("Failover", "failover.rerouted", fmt.Sprintf("until %s of %s clients were back", count(f.Recovered), count(f.Displaced)))
	}
	show("Highest rate", "search.rate", "")
	return all
}

func checks(r *loadtest.Report) (all []check) {
	for _, c := range r.Checks {
		k := check{Name: c.Name, Want: c.Want, Got: c.Got, Why: c.Why}
		switch c.Verdict {
		case judge.OK:
			k.Result, k.Class = "✓ ok", "ok"
		case judge.Fail:
			k.Result, k.Class = "✗ fail", "bad"
		default:
			k.Result, k.Class = "– not judged", "unjudged"
		}
		all = append(all, k)
	}
	return all
}

// errorsTable has what went wrong: attempts, losses and requests, each by its causes.
func errorsTable(r *loadtest.Report) *Table {
	t := NewTable("", "Errors by cause", "Cause|What|>Count|Share")
	type line struct {
		cause, what string
		n           int64
	}
	var lines []line
	add := func(what string, causes map[string]int64) {
		for _, cause := range slices.Sorted(maps.Keys(causes)) {
			if causes[cause] != 0 {
				lines = append(lines, line{cause, what, causes[cause]})
			}
		}
	}
	of := func(c *loadtest.Connections, q *loadtest.Requests, over string) {
		if c != nil {
			add("attempts to connect"+over+", repeated", c.Failures)
			add("connections dropped"+over, c.Losses)
		}
		if q != nil {
			add("requests failed"+over, q.Causes)
			if q.Lost > 0 {
				lines = append(lines, line{"no answer", "requests lost" + over, q.Lost})
			}
		}
	}
	of(r.Connections, r.Requests, "")
	for _, p := range r.Parts {
		of(p.Connections, p.Requests, " over "+p.Name)
	}
	if s := r.Sessions; s != nil && s.Lost > 0 {
		lines = append(lines, line{"the server did not know them any more", "sessions lost", s.Lost})
	}
	most := int64(0)
	for _, l := range lines {
		most = max(most, l.n)
	}
	slices.SortStableFunc(lines, func(a, b line) int { return int(min(max(b.n-a.n, -1), 1)) })
	for _, l := range lines {
		t.Row(l.cause, l.what, digits(float64(l.n)), "")
		t.Rows[len(t.Rows)-1][3].Bar = fmt.Sprintf("%.1f", 100*float64(l.n)/float64(most))
	}
	return t.orNil()
}

func resourceTables(r *loadtest.Report) (all []*Table) {
	if r.Resources != nil {
		t := NewTable("", "Resources", "Part|>Processes|>Memory, most|>CPU, of one core|>Descriptors, most")
		for _, p := range processes(r.Resources) {
			if p.Processes > 0 {
				t.Row(p.Name, count(p.Processes), size(float64(p.RSSBytes)), Print(p.CPUPercent, Percent), count(p.Descriptors))
			}
		}
		t.Row("machine", "", size(float64(r.Resources.MemoryBytes)), "", "")
		t.Note = "Of the machine: how much less memory it had than before the ramp. Pages that processes share count in each."
		all = append(all, t)
	}
	if g := r.Generator; g.Agents > 0 {
		t := NewTable("The load test itself", "The load test itself", "Lag behind the schedule|>p99|>Most")
		t.Row("during the hold, when latencies are measured", duration(float64(g.HoldP99LagUs)), duration(float64(g.HoldMaxLagUs)))
		t.Row("in the whole run", duration(float64(g.P99LagUs)), duration(float64(g.MaxLagUs)))
		all = append(all, t)
	}
	return all
}

func runKeys(r *loadtest.Report) (keys []key) {
	add := func(name, format string, args ...any) { keys = append(keys, key{name, fmt.Sprintf(format, args...)}) }
	if r.Version != "" {
		add("Version", "erlmcp %s", r.Version)
	}
	if m := hostLine(r.Host); m != "" {
		add("Machine", "%s", m)
	}
	if r.Host.Descriptors > 0 {
		add("Descriptors", "%s a process", count(int(min(r.Host.Descriptors, 1<<53))))
	}
	add("Started", "%s, took %s", r.Started.UTC().Format("2006-01-02 15:04:05 UTC"), Print(r.DurationS, Seconds))
	p := r.Plan
	add("Plan", "%s connections, at most %s new ones a second; %s requests a second", count(p.Connections), digits(p.RampPerSecond), digits(p.PingsPerSecond))
	sources := fmt.Sprintf("%s with %s connections each", count(p.Sources), count(p.ConnectionsPerSource))
	if p.SourceAddresses != "" {
		sources += ": " + p.SourceAddresses
	}
	if p.SourcesUsedBefore > 0 {
		sources += fmt.Sprintf("; %s of them were used by an earlier run", count(p.SourcesUsedBefore))
	}
	add("Addresses", "%s", sources)
	add("Agents", "%s", count(p.Agents))
	for _, part := range r.Parts {
		add("Transport "+part.Name, "%s, driver %s", part.Target, part.Driver)
	}
	if c := r.Connections; c != nil {
		add("Ramp", "%s of %s connections in %s, after %s attempts; %s clients gave up", count(c.Established), count(c.Target),
			Print(c.RampMs, Millis), digits(float64(c.Attempts)), count(c.Failed))
	}
	for _, s := range []struct {
		name string
		of   *loadtest.Sticky
	}{{"Stickiness", r.Sticky}, {"After the failover", r.StickyAfter}} {
		if s.of != nil {
			add(s.name, "%s of %s clients that came back met their node", count(s.of.Consistent), count(s.of.Sampled))
		}
	}
	return keys
}

func phaseTable(r *loadtest.Report) *Table {
	t := NewTable("Phases", "Phases", "Phase|>Took")
	for _, p := range r.Phases {
		t.Row(string(p.Name), Print(p.TookS, Seconds))
	}
	return t.orNil()
}

func preflightTable(r *loadtest.Report) *Table {
	t := NewTable("Before the run", "Before the run", "What|There is|It takes|What to do")
	for _, q := range r.Preflight {
		t.Row(q.Name, q.Got, q.Want, q.Fix)
	}
	return t.orNil()
}
