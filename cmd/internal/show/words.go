// Package show prints what people read: states, reports, explanations and logs, in words that these share.
package show

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/internal/units"
)

// Count is a number of things: "1 node", "4 nodes".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Duration is d in its two largest units: "12s", "3m12s", "5h3m", "2d5h".
func Duration(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	if days := d / (24 * time.Hour); days > 0 {
		return fmt.Sprintf("%dd%dh", days, d%(24*time.Hour)/time.Hour)
	}
	if d >= time.Hour {
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	}
	return d.String()
}

// Latency keeps about three digits.
func Latency(d time.Duration) time.Duration {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond)
	case d < 100*time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// roundBytes is a number of bytes in its largest unit of 1024, rounded.
func roundBytes(n uint64) string {
	size, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if size < float64(units.KiB) {
			break
		}
		size, unit = size/float64(units.KiB), next
	}
	if size < 10 && unit != "B" {
		return strconv.FormatFloat(size, 'f', 1, 64) + unit
	}
	return strconv.FormatFloat(size, 'f', 0, 64) + unit
}

func micros(us int64) string {
	if us == 0 {
		return "-"
	}
	d := time.Duration(us) * time.Microsecond
	if d >= 10*time.Millisecond {
		d = d.Round(100 * time.Microsecond)
	}
	return d.String()
}

// OrDash is a text, or what stands for none.
func OrDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// OrUnknown is a number, or what stands for one that nobody knows.
func OrUnknown(n *int) string {
	if n == nil {
		return "?"
	}
	return fmt.Sprint(*n)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func upOrDown(up bool) string {
	if up {
		return healthcheck.NodeUp
	}
	return healthcheck.NodeDown
}

// State paints a state by how good it is.
func State(paint func(term.Style, string) string, state string) string {
	return StateAs(paint, state, state)
}

// StateAs paints a text as the state it stands for.
func StateAs(paint func(term.Style, string) string, state, text string) string {
	switch state {
	case "healthy", "up", "running", "ready":
		return paint(term.Green, text)
	case "degraded", "silent", "draining", "maintenance", "unknown", "starting", "backoff":
		return paint(term.Yellow, text)
	case "down", "not running", "crashloop", "stopped":
		return paint(term.Red, text)
	}
	return text
}

// NodeStyle is how the state of a node is painted.
func NodeStyle(s cluster.State) term.Style {
	switch {
	case s == cluster.StateReady:
		return term.Green
	case s == cluster.StateCrashLoop:
		return term.Red
	case slices.Contains([]cluster.State{cluster.StateStopped, cluster.StateHeld}, s):
		return term.Dim
	}
	return term.Yellow
}

var verdictStyles = map[judge.Verdict]term.Style{judge.OK: term.Green, judge.Unjudged: term.Dim, judge.Warn: term.Yellow, judge.Fail: term.Red}

// Nodes is names as people read them, and what stands for all of them.
func Nodes(names []string, all string) string {
	if len(names) == 0 {
		return all
	}
	return strings.Join(names, ", ")
}
