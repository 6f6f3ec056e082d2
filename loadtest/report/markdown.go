package report

import (
	"fmt"
	"html"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest"
)

// Markdown writes what fits into a pull request: verdict, checks, nodes, latency. It has no links, and refers to no file.
func Markdown(out io.Writer, r *loadtest.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s Load test: %s\n\n", signs[r.Verdict], r.Verdict)
	if r.Reason != "" {
		fmt.Fprintf(&b, "%s\n\n", Plain(r.Reason))
	}
	fmt.Fprintf(&b, "%s connections to %s for %s, driver %s, erlmcp %s, %s\n", count(r.Plan.Connections), codeSpan(r.Target),
		Print(r.Plan.HoldS, Seconds), Plain(r.Driver), Plain(r.Version), r.Started.UTC().Format("2006-01-02 15:04 UTC"))
	if m := hostLine(r.Host); m != "" {
		fmt.Fprintf(&b, "on %s\n", Plain(m))
	}
	if len(r.Checks) > 0 {
		MarkdownTable(&b, "Check|Want|Got|", func(row func(...string)) {
			for _, c := range r.Checks {
				row(c.Name, c.Want, c.Got, checkWord(&c))
			}
		})
	}
	if len(r.Nodes) > 0 {
		MarkdownTable(&b, "Node|>Connections|>Answers|>Mean|>p50|>p90|>p99|>p99.9|>Max", func(row func(...string)) {
			for _, n := range r.Nodes {
				row(append([]string{nodeName(n.Name), count(n.Connections)}, quantileCells(n.Latency)...)...)
			}
			if all, _ := together(r.Nodes); len(r.Nodes) > 1 {
				row(append([]string{"together", ""}, quantileCells(all)...)...)
			}
		})
	}
	latencies(&b, r)
	if len(r.Rates) > 0 {
		MarkdownTable(&b, ">Rate|>Answers|>Errors|>p50|>p99|>Max", func(row func(...string)) {
			for _, s := range r.Rates {
				row(Print(s.RatePerSecond, PerSecond), Print(s.GotPerSecond, PerSecond), Print(s.ErrorsPercent, Percent),
					duration(float64(s.Latency.P50)), duration(float64(s.Latency.P99)), duration(float64(s.Latency.Max)))
			}
		})
	}
	if s := r.Search; s != nil {
		fmt.Fprintf(&b, "\n%s\n", Plain(SearchText(s)))
	}
	if q := r.Requests; q != nil {
		fmt.Fprintf(&b, "\n%s requests: %s answered, %s failed, %s lost, %s answered by another node\n",
			digits(float64(q.Sent)), digits(float64(q.Answered)), digits(float64(q.Failed)), digits(float64(q.Lost)), digits(float64(q.Moved)))
	}
	if f := r.Failover; f != nil {
		fmt.Fprintf(&b, "\nFailover (%s %s): detected %s, %s of %s clients back, all of them %s, %s requests lost\n", Plain(string(f.Fault)), Plain(f.Node),
			never(f.DetectedMs), count(f.Recovered), count(f.Displaced), never(f.ReroutedMs), digits(float64(f.RequestsLost)))
	}
	for _, text := range slices.Concat(r.Notes, r.Advice) {
		fmt.Fprintf(&b, "\n* %s\n", Plain(text))
	}
	if len(r.Command) > 0 {
		fmt.Fprintf(&b, "\nCommand: %s\n", codeSpan(quote(r.Command)))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// latencies adds those of transports, steps and the set-up.
func latencies(b *strings.Builder, r *loadtest.Report) {
	if len(r.Parts)+len(r.Steps)+len(r.Setup) == 0 {
		return
	}
	MarkdownTable(b, "Latency of|>Answers|>Mean|>p50|>p90|>p99|>p99.9|>Max", func(row func(...string)) {
		for _, p := range r.Parts {
			all, _ := together(p.Nodes)
			row(append([]string{"transport " + p.Name}, quantileCells(all)...)...)
		}
		for _, s := range r.Steps {
			row(append([]string{"step " + s.Name}, quantileCells(s.Latency)...)...)
		}
		for _, stage := range slices.Sorted(maps.Keys(r.Setup)) {
			row(append([]string{"set-up: " + stage}, quantileCells(r.Setup[stage])...)...)
		}
	})
}

var signs = map[loadtest.Verdict]string{loadtest.Pass: "✅", loadtest.Fail: "❌", loadtest.Inconclusive: "⚠️", loadtest.Interrupted: "⏹️"}

// checkWord is how a check came out.
func checkWord(c *judge.Result) string {
	switch c.Verdict {
	case judge.OK:
		return "ok"
	case judge.Unjudged:
		return "not judged: " + c.Why
	}
	if c.Why != "" {
		return "FAIL: " + c.Why
	}
	return "FAIL"
}

// quantileCells are count, mean, p50, p90, p99, p99.9 and the longest.
func quantileCells(q loadtest.Quantiles) []string {
	if q.Count == 0 {
		return []string{"0", "–", "–", "–", "–", "–", "–"}
	}
	cells := []string{digits(float64(q.Count)), duration(q.Mean)}
	for _, v := range []int64{q.P50, q.P90, q.P99, q.P999, q.Max} {
		if v == 0 { // not known of several nodes together
			cells = append(cells, "–")
			continue
		}
		cells = append(cells, duration(float64(v)))
	}
	return cells
}

// MarkdownTable adds a table. Titles are separated by "|"; those with ">" are of numbers.
func MarkdownTable(b *strings.Builder, titles string, rows func(row func(cells ...string))) {
	b.WriteString("\n|")
	lines := "|"
	for title := range strings.SplitSeq(titles, "|") {
		name, numbers := strings.CutPrefix(title, ">")
		b.WriteString(" " + name + " |")
		lines += map[bool]string{true: " ---: |", false: " --- |"}[numbers]
	}
	b.WriteString("\n" + lines + "\n")
	rows(func(cells ...string) {
		b.WriteString("|")
		for _, c := range cells {
			b.WriteString(" " + Plain(c) + " |")
		}
		b.WriteString("\n")
	})
}

// Plain is a text of others within Markdown: it stays the text that it is, on one line.
func Plain(text string) string {
	var b strings.Builder
	for _, r := range strings.Join(strings.Fields(text), " ") {
		switch {
		case r == '<' || r == '>' || r == '&':
			b.WriteString(html.EscapeString(string(r)))
		case r == '@' || r == '#':
			b.WriteString(string(r) + "<!-- -->") // nobody is called
		case strings.ContainsRune("\\`*_[]|~", r):
			b.WriteString("\\" + string(r))
		default:
			b.WriteRune(r)
		}
	}
	// What looks like an address becomes none.
	return strings.ReplaceAll(strings.ReplaceAll(b.String(), "://", ":<!-- -->//"), "www.", "www<!-- -->.")
}

// codeSpan is a text between as many backquotes as it takes.
func codeSpan(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + " " + text + " " + fence
}
