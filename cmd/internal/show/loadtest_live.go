package show

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/loadtest"
)

const (
	// maxLiveNodes are shown line by line.
	maxLiveNodes = 16
	// maxLiveMarks are the last ones that are shown.
	maxLiveMarks = 4
)

// liveRun is the state of a run at a moment, in lines for a terminal so many columns wide.
func liveRun(paint func(term.Style, string) string, now *loadtest.Now, columns int) string {
	if now == nil {
		return ""
	}
	var b strings.Builder
	last := &now.Last
	parts := []string{fmt.Sprintf("%d of %d connections", now.Connections, now.Wanted)}
	if last.Answers > 0 || last.Errors > 0 {
		parts = append(parts, fmt.Sprintf("%.0f answers/s", last.Answers))
	}
	if last.P50Us != nil && last.P99Us != nil {
		parts = append(parts, fmt.Sprintf("p50 %s, p99 %s", micros(*last.P50Us), micros(*last.P99Us)))
	}
	if last.Errors > 0 {
		parts = append(parts, paint(term.Red, fmt.Sprintf("%.0f errors/s%s", last.Errors, causes(last.ByCause))))
	}
	if now.Trial != "" {
		parts = append(parts, now.Trial)
	}
	if now.Fault != "" {
		parts = append(parts, paint(term.Yellow, now.Fault))
	}
	fmt.Fprintf(&b, "  %s\n", strings.Join(parts, " · "))
	liveNodes(&b, paint, now, columns)
	for _, m := range now.Marks[max(len(now.Marks)-maxLiveMarks, 0):] {
		fmt.Fprintf(&b, "  %s\n", paint(term.Dim, fmt.Sprintf("%.1fs ago: %s", now.Since.Seconds()-m.AtS, m.Text)))
	}
	return b.String()
}

func liveNodes(b *strings.Builder, paint func(term.Style, string) string, now *loadtest.Now, columns int) {
	full := 0.0
	for _, n := range now.Nodes {
		full = max(full, n.Share*1.1, float64(n.Connections)*1.05)
	}
	width := min(max(columns-44, 8), 60)
	for i, n := range now.Nodes {
		if i == maxLiveNodes {
			fmt.Fprintf(b, "  and %d more nodes\n", len(now.Nodes)-i)
			return
		}
		style, note := term.Green, fmt.Sprintf("of %.0f", n.Share)
		if n.Broken {
			style, note = term.Red, "broken by the load test"
		}
		bar := []rune(term.Pad(term.Bar(float64(n.Connections), full, width), width))
		if mark := int(n.Share / full * float64(width)); full > 0 && !n.Broken && mark < len(bar) {
			fmt.Fprintf(b, "  %s %s%s%s", term.Pad(term.Cut(n.Name, 16), 16), paint(style, string(bar[:mark])), paint(term.Bold, "│"), paint(style, string(bar[mark+1:])))
		} else {
			fmt.Fprintf(b, "  %s %s", term.Pad(term.Cut(n.Name, 16), 16), paint(style, string(bar)))
		}
		fmt.Fprintf(b, " %7d %s\n", n.Connections, note)
	}
}

// causes is " (closed, reset)", the most frequent first.
func causes(n map[string]int64) string {
	if len(n) == 0 {
		return ""
	}
	names := slices.SortedFunc(maps.Keys(n), func(a, b string) int { return cmp.Or(cmp.Compare(n[b], n[a]), cmp.Compare(a, b)) })
	return " (" + strings.Join(names, ", ") + ")"
}
