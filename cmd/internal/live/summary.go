package live

import (
	"fmt"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/term"
)

// Summary is what continuous checks have found out in all.
func Summary(out *term.Output, r healthcheck.Report, h *healthcheck.History) string {
	var b strings.Builder
	lasted := r.Time.Sub(h.Begun).Round(time.Second)
	fmt.Fprintf(&b, "%d rounds in %v, at the end %s\n", h.Rounds, lasted, show.State(out.Paint, string(r.Status)))
	t := out.Table("NODE", "STATUS", "SINCE", ">AVAILABLE", ">FLAPS", ">MIN", ">AVG", ">MAX")
	for _, n := range r.Nodes {
		s := n.Statistics
		row := []any{n.Name, show.State(out.Paint, n.Status), "-", "-", s.Flaps, "-", "-", "-"}
		if s.Rounds > 0 {
			row[2], row[3] = s.Since.Format(time.TimeOnly), fmt.Sprintf("%.4g%%", s.AvailabilityPercent)
		}
		if s.Answers > 0 {
			for i, us := range []int64{s.MinimumUS, s.AverageUS, s.MaximumUS} {
				row[5+i] = show.Latency(time.Duration(us) * time.Microsecond)
			}
		}
		t.Row(row...)
	}
	b.WriteString(t.String())
	return b.String()
}
