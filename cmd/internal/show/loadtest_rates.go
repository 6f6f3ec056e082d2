package show

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report"
)

// latencyTable has a line for each step of the script and each stage of what connections waited for, such as that of TLS.
func latencyTable(out *term.Output, text *strings.Builder, r *loadtest.Report) {
	if len(r.Steps)+len(r.Setup) == 0 {
		return
	}
	t := out.Table("LATENCY OF", ">ANSWERS", ">MEAN", ">P50", ">P90", ">P99", ">MAX")
	row := func(name string, q loadtest.Quantiles) {
		t.Row(name, q.Count, micros(int64(q.Mean)), micros(q.P50), micros(q.P90), micros(q.P99), micros(q.Max))
	}
	for _, s := range r.Steps {
		row(s.Name, s.Latency)
	}
	for _, stage := range slices.Sorted(maps.Keys(r.Setup)) {
		row("set-up: "+strings.ReplaceAll(stage, "_", " "), r.Setup[stage])
	}
	fmt.Fprintf(text, "%s\n", t)
}

// rateTable has a line for each rate that was to be tried.
func rateTable(out *term.Output, text *strings.Builder, r *loadtest.Report) {
	if len(r.Rates) == 0 {
		return
	}
	t := out.Table(">RATE", ">ANSWERS", ">ERRORS", ">P50", ">P99", ">MAX", "")
	for _, s := range r.Rates {
		t.Row(perSecond(s.RatePerSecond), perSecond(s.GotPerSecond), percent(s.ErrorsPercent), micros(s.Latency.P50), micros(s.Latency.P99),
			micros(s.Latency.Max), out.Paint(term.Yellow, s.Why))
	}
	fmt.Fprintf(text, "%s\n", t)
}

// searchTable has the trials of a search and what it found.
func searchTable(out *term.Output, text *strings.Builder, s *loadtest.Search) {
	if s == nil {
		return
	}
	t := out.Table("TRIAL", ">RATE", ">LENGTH", ">ANSWERS", ">ERRORS", ">P50", ">P99", "HELD")
	for i, trial := range s.Trials {
		held := out.Paint(term.Green, "yes")
		if !trial.Held {
			held = out.Paint(term.Red, "no")
		}
		if trial.Why != "" {
			held += " (" + trial.Why + ")"
		}
		t.Row(fmt.Sprintf("%d %s", i+1, trial.Purpose), perSecond(trial.RatePerSecond), fmt.Sprintf("%gs", trial.LengthS),
			perSecond(trial.GotPerSecond), percent(trial.ErrorsPercent), micros(trial.Latency.P50), micros(trial.Latency.P99), held)
	}
	fmt.Fprintf(text, "%s\n%s\n\n", t, report.SearchText(s))
}

// notes say what the driver cannot tell, and what of the machine has spoilt which figures.
func notes(out *term.Output, text *strings.Builder, r *loadtest.Report) {
	for _, note := range r.Notes {
		fmt.Fprintf(text, "%s %s\n", out.Paint(term.Yellow, "note"), note)
	}
}

// checkWord is how a line of the verdict came out.
func checkWord(c *judge.Result) string {
	switch {
	case c.Verdict == judge.OK:
		return "ok"
	case c.Verdict == judge.Unjudged:
		return c.Why
	case c.Why != "":
		return "FAIL: " + c.Why
	}
	return "FAIL"
}

func perSecond(rate float64) string { return fmt.Sprintf("%.6g/s", rate) }

func percent(p float64) string { return fmt.Sprintf("%.3g %%", p) }
