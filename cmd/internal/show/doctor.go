package show

import (
	"fmt"
	"strings"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/loadtest/doctor"
)

// Doctor prints the findings, and below them, gravest first, what to do.
func Doctor(out *term.Output, r *doctor.Report) error {
	level := func(v judge.Verdict) string { return out.Paint(verdictStyles[v], doctor.Levels[v]) }
	t := out.Table("CHECK", "RESULT", "FOUND", "NEEDED")
	for _, f := range r.Findings {
		t.Row(f.Name, level(f.Verdict), f.Got, f.Want)
	}
	var b strings.Builder
	b.WriteString(t.String() + "\n")
	for _, grave := range []judge.Verdict{judge.Fail, judge.Warn} {
		for _, f := range r.Findings {
			if f.Verdict == grave {
				fmt.Fprintf(&b, "%s  %s: %s, needed: %s\n  %s\n", level(grave), f.Name, f.Got, f.Want, f.Fix)
			}
		}
	}
	verdict := fmt.Sprintf("this machine can hold %d connections", r.Connections)
	if !r.OK {
		verdict = fmt.Sprintf("this machine cannot hold %d connections: %d to fix", r.Connections, r.Problems)
	}
	if r.Warnings > 0 {
		verdict += fmt.Sprintf(" (warnings: %d)", r.Warnings)
	}
	b.WriteString(verdict + "\n")
	_, err := fmt.Fprint(out, b.String())
	return err
}
