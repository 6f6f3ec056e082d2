package show

import (
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/series"
)

func TestLiveRun(t *testing.T) {
	plain := func(_ term.Style, text string) string { return text }
	if got := liveRun(plain, nil, 80); got != "" {
		t.Errorf("before there are clients: %q", got)
	}
	now := &loadtest.Now{
		Since: 12500 * time.Millisecond, Connections: 300, Wanted: 400, Trial: "trial 2: 800/s for 6s", Fault: "kill node2",
		Nodes: []loadtest.NodeNow{
			{Name: "node1", Connections: 100, Share: 200}, {Name: "node2", Broken: true}, {Name: "a-node-with-a-long-name", Connections: 200, Share: 200},
		},
		Last:  series.Point{Answers: 4998, Errors: 3, ByCause: map[string]int64{"closed": 1, "reset": 2}, P50Us: new(int64(120)), P99Us: new(int64(4500))},
		Marks: []series.Mark{{AtS: 10, Text: "kill node2"}},
	}
	want := `  300 of 400 connections · 4998 answers/s · p50 120µs, p99 4.5ms · 3 errors/s (reset, closed) · trial 2: 800/s for 6s · kill node2
  node1            ████████▏       │      100 of 200
  node2                                     0 broken by the load test
  a-node-with-a-l… ████████████████│      200 of 200
  2.5s ago: kill node2
`
	if got := liveRun(plain, now, 62); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for range 40 {
		now.Nodes = append(now.Nodes, loadtest.NodeNow{Name: "x", Connections: 1, Share: 1})
	}
	for _, columns := range []int{0, 20, 80, 300} {
		if got := liveRun(plain, now, columns); got == "" {
			t.Errorf("%d columns: nothing", columns)
		}
	}
	if got := liveRun(plain, &loadtest.Now{Wanted: 5, Nodes: []loadtest.NodeNow{{Name: "a"}}}, 80); got == "" {
		t.Error("nothing before the first connection")
	}
}
