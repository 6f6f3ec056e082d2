package show

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/internal/units"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

// Progress shows how a run goes: on a terminal what there is at the moment, else a log line per phase.
func Progress(out *term.Output, l *log.Logger) func(loadtest.Progress) {
	return func(p loadtest.Progress) {
		count := ""
		if p.Unit != "" {
			count = fmt.Sprintf("%d %s", p.Done, p.Unit)
		}
		took := p.Took.Round(10 * time.Millisecond)
		switch {
		case !p.Ended && !out.Live():
		case !p.Ended:
			if p.Total > 0 {
				count = fmt.Sprintf("%d of %d %s", p.Done, p.Total, p.Unit)
			}
			columns, _ := out.Size()
			_ = out.Draw(fmt.Sprintf("%-22s %6.1fs  %s\n", p.Phase, p.Took.Seconds(), count) + liveRun(out.Paint, p.Now, columns))
		case out.Live():
			mark := out.Paint(term.Green, "✓")
			if p.Err != nil {
				mark = out.Paint(term.Red, "✗")
			}
			fmt.Fprintf(out, "%s %-20s %6.1fs  %s\n", mark, p.Phase, p.Took.Seconds(), count)
		case p.Err != nil && p.Phase == loadtest.PhasePreflight: // is said in full
		case p.Err != nil:
			l.Warn(string(p.Phase)+" ended early", "took", took, "err", p.Err)
		case count != "":
			l.Info(string(p.Phase), "took", took, p.Unit, p.Done)
		default:
			l.Info(string(p.Phase), "took", took)
		}
	}
}

// Loadtest prints a report for people.
func Loadtest(out *term.Output, r *loadtest.Report) error {
	var text strings.Builder
	loadtestAdvice(out, &text, r)
	nodeTable(out, &text, r)
	latencyTable(out, &text, r)
	rateTable(out, &text, r)
	searchTable(out, &text, r.Search)
	useTable(out, &text, r)
	checkTable(out, &text, r)
	notes(out, &text, r)
	style := map[loadtest.Verdict]term.Style{loadtest.Pass: term.Green, loadtest.Inconclusive: term.Yellow}[r.Verdict]
	if style == "" {
		style = term.Red
	}
	fmt.Fprintf(&text, "%s", out.Paint(style, string(r.Verdict)))
	if r.Reason != "" && r.Verdict != loadtest.Interrupted {
		fmt.Fprintf(&text, ": %s", r.Reason)
	}
	fmt.Fprintf(&text, "\n")
	for _, advice := range r.Advice {
		fmt.Fprintf(&text, "hint: %s\n", advice)
	}
	_, err := fmt.Fprint(out, text.String())
	return err
}

// loadtestAdvice says what the plan had to do without.
func loadtestAdvice(out *term.Output, text *strings.Builder, r *loadtest.Report) {
	for _, q := range r.Preflight {
		if q.Verdict != judge.OK {
			fmt.Fprintf(text, "%s %s: %s, better: %s (%s)\n", out.Paint(term.Yellow, "note"), q.Name, q.Got, q.Want, q.Fix)
		}
	}
}

func nodeTable(out *term.Output, text *strings.Builder, r *loadtest.Report) {
	if len(r.Nodes) == 0 {
		return
	}
	t := out.Table("NODE", ">CONNECTIONS", ">KERNEL", ">ANSWERS", ">MEAN", ">P50", ">P99", ">MAX")
	for _, n := range r.Nodes {
		kernel := "-"
		if n.KernelConnections != nil {
			kernel = fmt.Sprint(*n.KernelConnections)
		}
		l, name := n.Latency, n.Name
		if name == "" {
			name = "(all)"
		}
		t.Row(name, n.Connections, kernel, l.Count, micros(int64(l.Mean)), micros(l.P50), micros(l.P99), micros(l.Max))
	}
	fmt.Fprintf(text, "%s\n", t)
}

func useTable(out *term.Output, text *strings.Builder, r *loadtest.Report) {
	if r.Resources == nil {
		return
	}
	t := out.Table("PART", ">PROCESSES", ">MEMORY", ">CPU", ">DESCRIPTORS")
	for _, part := range []struct {
		name string
		use  series.ProcessUse
	}{
		{"balancer", r.Resources.Balancer}, {"nodes", r.Resources.Nodes},
		{"agents", r.Resources.Agents}, {"coordinator", r.Resources.Coordinator},
	} {
		if part.use.Processes > 0 {
			t.Row(part.name, part.use.Processes, units.InMiB(part.use.RSSBytes), fmt.Sprintf("%.1f %%", part.use.CPUPercent), part.use.Descriptors)
		}
	}
	t.Row("machine", "", units.InMiB(r.Resources.MemoryBytes))
	fmt.Fprintf(text, "%s\n", t)
}

func checkTable(out *term.Output, text *strings.Builder, r *loadtest.Report) {
	if len(r.Checks) == 0 {
		return
	}
	t := out.Table("CHECK", "WANT", "GOT", "")
	for _, c := range r.Checks {
		t.Row(c.Name, c.Want, c.Got, out.Paint(verdictStyles[c.Verdict], checkWord(&c)))
	}
	fmt.Fprintf(text, "%s\n", t)
}
