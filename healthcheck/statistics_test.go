package healthcheck

import (
	"fmt"
	"testing"
	"time"
)

// roundOf is a report of one node, seen at a second with a latency in milliseconds; 0 is a failure.
func roundOf(second int, latency int) Report {
	check := Result{Kind: "mcp", OK: latency > 0, Latency: time.Duration(latency) * time.Millisecond}
	status := NodeUp
	if latency == 0 {
		check.Cause, check.Error = CauseRefused, "connection refused"
		status = NodeDown
	}
	if latency < 0 {
		check.Cause, check.Error = CauseLocal, "too many open files"
		status = NodeUnknown
	}
	return Report{
		Status: StatusHealthy, Time: time.Unix(int64(second), 0).UTC(),
		LoadBalancer: LoadBalancer{Running: true, State: "running"},
		Nodes:        []NodeHealth{{Name: "one", Status: status, Weight: 1, Checks: []Result{check}}},
	}
}

func TestHistory(t *testing.T) {
	var h History
	var last Statistics
	var changes []Event
	for i, latency := range []int{4, 2, 0, 0, -1, 9, 0, 1} {
		r := roundOf(i, latency)
		changes = append(changes, h.Add(&r)...)
		last = *r.Nodes[0].Statistics
	}
	want := Statistics{
		Rounds: 7, Up: 4, AvailabilityPercent: 57.143, Flaps: 4, Since: time.Unix(7, 0).UTC(),
		Answers: 4, MinimumUS: 1000, AverageUS: 4000, MaximumUS: 9000,
	}
	if last != want {
		t.Errorf("got  %+v\nwant %+v", last, want)
	}
	var text string
	for _, e := range changes {
		text += fmt.Sprintf("%d %s: %s to %s (%s)\n", e.Time.Unix(), e.Subject, e.From, e.To, e.Reason)
	}
	const events = `2 one: up to down (mcp: connection refused)
4 one: down to unknown (mcp: too many open files)
5 one: unknown to up ()
6 one: up to down (mcp: connection refused)
7 one: down to up ()
`
	if text != events {
		t.Errorf("events\n%swant\n%s", text, events)
	}
	if h.Rounds != 8 || h.Begun.Unix() != 0 {
		t.Errorf("%d rounds since %v", h.Rounds, h.Begun)
	}
}

// Reports that were handed out do not change with later rounds.
func TestHistoryCopies(t *testing.T) {
	var h History
	first, second := roundOf(0, 1), roundOf(1, 1)
	h.Add(&first)
	h.Add(&second)
	if n := first.Nodes[0].Statistics.Rounds; n != 1 {
		t.Errorf("%d rounds", n)
	}
}

func TestHistoryEvents(t *testing.T) {
	var h History
	r := roundOf(0, 1)
	if changes := h.Add(&r); changes != nil {
		t.Errorf("the first round changes %v", changes)
	}
	r = roundOf(1, 1)
	r.Status, r.Reasons = StatusDegraded, []string{"one drains"}
	r.LoadBalancer = LoadBalancer{}
	r.Nodes[0].Balancer = "draining"
	want := "[{1970-01-01 00:00:01 +0000 UTC health healthy degraded one drains} " +
		"{1970-01-01 00:00:01 +0000 UTC load balancer running not running } " +
		"{1970-01-01 00:00:01 +0000 UTC one up up, draining }]"
	if got := fmt.Sprint(h.Add(&r)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestShare(t *testing.T) {
	n := func(n int) *int { return &n }
	r := Report{Nodes: []NodeHealth{
		{Status: NodeUp, Weight: 3, Connections: n(10)},
		{Status: NodeUp, Weight: 1, Connections: n(30), Balancer: "up"},
		{Status: NodeUp, Weight: 1, Connections: n(7), Balancer: "draining"},
		{Status: NodeDown, Weight: 1, Connections: n(5)},
	}}
	if got := fmt.Sprint(r.Share(0), r.Share(1), r.Share(2), r.Share(3)); got != "30 10 0 0" {
		t.Error(got)
	}
}
