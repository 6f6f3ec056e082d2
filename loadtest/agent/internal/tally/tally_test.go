package tally

import (
	"math"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

const second = int64(time.Second)

// measured is what a tally has of the node a.
func measured(t *testing.T, of *Tally) (windows latency.Windows, a *latency.Recording) {
	t.Helper()
	script, err := work.Work{Verify: ask.Whoami}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	m, err := of.Measured(script)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = m.Nodes["a"].Recording(); err != nil {
		t.Fatal(err)
	}
	return m.Windows, a
}

// What was due up to a tick after the end of an order belongs to its last second, and what the next order asks for does not.
func TestRecordedOrder(t *testing.T) {
	of := New()
	node := of.Node([]byte("a"))
	request := func(due int64, answered bool) {
		of.Expect(due)
		if answered {
			of.Answer(of.ID(0, due), node, node)
		}
	}
	at := mono.Now() + 999 // not a whole microsecond
	request(at, true)      // of no order
	of.Begin(at, &wire.PingOrder{For: 2 * time.Second, Record: true, Limits: []int64{0, math.MaxInt64}})
	for _, due := range []int64{0, second - 2000, second, 2*second - 1, 2 * second, 2*second + 999_999} {
		request(at+due, true)
	}
	request(at+second, false)
	of.Begin(at+3*second, &wire.PingOrder{For: time.Second})
	request(at+3*second, true)
	windows, a := measured(t, of)
	if len(windows) != 2 || windows[0].Due != 2 || windows[1].Due != 5 || windows[1].Count != 4 || windows[1].Failed != 1 || windows[0].Failed != 0 {
		t.Errorf("%+v", windows)
	}
	if a.Histogram.TotalCount() != 6 || len(a.Windows) != 2 || of.N.Requests.Answered != 8 {
		t.Errorf("%d of %d answers are recorded in %+v", a.Histogram.TotalCount(), of.N.Requests.Answered, a.Windows)
	}
	of.Begin(at+5*second, &wire.PingOrder{Record: true}) // what is measured is of the last order, without an end here
	request(at+4*second, true)
	request(at+95*second, true)
	windows, a = measured(t, of)
	if len(windows) != 91 || windows[90].Count != 1 || a.Histogram.TotalCount() != 1 {
		t.Errorf("%d windows, the last is %+v", len(windows), windows[len(windows)-1])
	}
}

func TestSlowAnswers(t *testing.T) {
	of := New()
	node := of.Node([]byte("a"))
	at := of.epoch // no request is due before
	of.Begin(at, &wire.PingOrder{Record: true, Limits: []int64{1_000_000, math.MaxInt64}})
	of.Expect(at)
	of.epoch -= 3 * second
	of.Begin(of.epoch, &wire.PingOrder{Record: true, Limits: []int64{1_000_000, math.MaxInt64}})
	of.Expect(of.epoch)
	of.Answer(of.ID(0, of.epoch), node, node) // three seconds late
	windows, _ := measured(t, of)
	if len(windows) != 1 || windows[0].Due != 1 || windows[0].Slow[0] != 1 || windows[0].Slow[1] != 0 || windows[0].Sum < 3_000_000 {
		t.Errorf("%+v", windows)
	}
}

func TestNamesOfNodes(t *testing.T) {
	of := New()
	for i := range 300 {
		of.Node([]byte{byte(i), byte(i >> 8)})
	}
	if last := of.Node([]byte("another")); last != maxNodes || len(of.nodes) != maxNodes || of.Node([]byte{7, 0}) != 8 {
		t.Errorf("node %d of %d", last, len(of.nodes))
	}
	of.Verify(8, 2)
	of.Verify(9, 1)
	of.Verify(8, -1)
	if n := of.Counts(); n.Verified != 2 || n.Nodes["\x07\x00"] != 1 {
		t.Errorf("%+v", n)
	}
	if of.Arm(of.Armed("\x07\x00")) != 1 || of.Arm(of.Armed(wire.EveryNode)) != 2 || of.Arm(of.Armed("nobody")) != 0 {
		t.Error("clients on armed nodes")
	}
	if !All.Explains(3) || None.Explains(0) || !Armed(3).Explains(3) || Armed(3).Explains(4) {
		t.Error("what a fault explains")
	}
}
