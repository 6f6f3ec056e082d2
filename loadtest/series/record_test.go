package series

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A point has rates of what came since the last one. What falls with a lost agent is no rate.
func TestPoint(t *testing.T) {
	begun := time.Now()
	c := &Recorder{begun: begun, phase: "hold"}
	c.last = wire.Counts{At: 1, Requests: wire.RequestCounts{Answered: 100, Failed: 5}, Losses: map[string]int64{"reset": 1}}
	c.owed[Balancer] = time.Second
	now := [Groups]ProcessUse{Balancer: {Processes: 2, RSSBytes: 7}}
	n := wire.Counts{Verified: 9, Requests: wire.RequestCounts{Answered: 120, Failed: 4}, Losses: map[string]int64{"reset": 3}}
	p := c.point(n, begun.Add(4*time.Second), 2*time.Second, &now)
	if p.AtS != 4 || p.Phase != "hold" || p.Connections != 9 || p.Answers != 10 || p.Errors != 0 || p.ByCause["reset"] != 2 || p.P50Us != nil {
		t.Errorf("%+v", p)
	}
	if p.BalancerCPU == nil || *p.BalancerCPU != 50 || p.BalancerRSS == nil || *p.BalancerRSS != 7 || p.NodesCPU != nil {
		t.Errorf("%+v", p)
	}
}

// A recorder has all marks and the use of a stretch when it stops.
func TestRecord(t *testing.T) {
	groups := [Groups]func() []int{}
	for i := range groups {
		groups[i] = func() []int { return nil }
	}
	groups[Coordinator] = func() []int { return []int{os.Getpid()} }
	c := Record(t.Context(), time.Now(), func() wire.Counts { return wire.Counts{At: 1} }, groups)
	c.Enter("hold")
	c.Measure(0)
	c.Mark("here")
	use := c.Measured()
	if _, marks := c.Lately(); len(marks) != 1 || marks[0].Text != "here" {
		t.Errorf("%+v", marks)
	}
	if use.Coordinator.Processes != 1 || use.Coordinator.RSSBytes == 0 || use.Balancer.Processes != 0 {
		t.Errorf("%+v", use)
	}
	if s := c.Stop(); s.IntervalS != 1 || len(s.Marks) != 1 {
		t.Errorf("%+v", s)
	}
}
