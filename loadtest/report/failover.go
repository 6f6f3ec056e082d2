package report

import (
	"fmt"

	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report/internal/chart"
)

// failover is the part of a page about the loss of a node.
type failover struct {
	Title    string
	Timeline *chart.Timeline
	Keys     []key
	Marks    []moment
}

func newFailover(r *loadtest.Report) *failover {
	f := r.Failover
	if f == nil {
		return nil
	}
	p := &failover{Title: fmt.Sprintf("%s %s", f.Fault, f.Node)}
	explain := func(when float64, format string, args ...any) chart.Mark {
		m := moment{len(p.Marks) + 1, Print(when, Millis), fmt.Sprintf(format, args...)}
		p.Marks = append(p.Marks, m)
		return chart.Mark{At: when, Number: m.Number, Text: m.Text}
	}
	loss := chart.Lane{Name: "from the fault"}
	loss.Moments = append(loss.Moments, explain(0, "The fault: %s of %s, which had %s clients.", f.Fault, f.Node, count(f.OnNode)))
	if f.DetectedMs > 0 {
		by := "the balancer marked it down"
		if f.DetectedBy != "balancer" {
			by = "the first client lost its connection; the balancer cannot be asked"
		}
		loss.Moments = append(loss.Moments, explain(f.DetectedMs, "Detected: %s.", by))
		loss.Stretches = append(loss.Stretches, chart.Stretch{From: 0, To: f.DetectedMs, Class: "unnoticed", Text: "not detected"})
	}
	if f.ReroutedMs > 0 {
		loss.Moments = append(loss.Moments, explain(f.ReroutedMs, "Rerouted: the last of %s displaced clients had an answer of another node.", count(f.Displaced)))
		loss.Stretches = append(loss.Stretches, chart.Stretch{From: min(f.DetectedMs, f.ReroutedMs), To: f.ReroutedMs, Class: "returning", Text: "clients come back"})
	}
	lanes := []chart.Lane{loss}
	if f.Restored {
		lanes = append(lanes, chart.Lane{
			Name:      "from the mend",
			Stretches: []chart.Stretch{{From: 0, To: f.RestoredMs, Class: "mending", Text: "still out"}},
			Moments: []chart.Mark{
				explain(0, "The node was mended."),
				explain(f.RestoredMs, "The balancer had the node up again."),
			},
		})
	}
	p.Timeline = chart.DrawTimeline(chart.Axis{Label: "time (ms)", Print: digits}, lanes)
	add := func(name, text string) { p.Keys = append(p.Keys, key{name, text}) }
	add("Detected", never(f.DetectedMs))
	add("All clients back", never(f.ReroutedMs))
	add("Clients", fmt.Sprintf("%s on the node, %s displaced, %s recovered", count(f.OnNode), count(f.Displaced), count(f.Recovered)))
	add("Requests lost", digits(float64(f.RequestsLost)))
	if d := f.Survivors; d != nil {
		add("Spread afterwards", fmt.Sprintf("within %s of %s connections a node", count(d.MaxDeviation), count(d.TargetPerNode)))
	}
	restored := "not"
	if f.Restored {
		restored = Print(f.RestoredMs, Millis) + " after the mend"
	}
	add("Up again", restored)
	return p
}

// never is a time after the fault; 0 is none.
func never(ms float64) string {
	if ms == 0 {
		return "never"
	}
	return "after " + Print(ms, Millis)
}
