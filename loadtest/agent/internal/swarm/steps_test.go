package swarm

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Answers to steps name no node: they are from the node of their connection. What a tool refuses has failed.
func TestStepsAreAnsweredByTheNodeOfTheirConnection(t *testing.T) {
	s := startSwarm(t, 1, time.Minute, func(id string, n int) string {
		switch {
		case n == 0:
			return nodeReply(id, "a")
		case n > 8:
			return `{"jsonrpc":"2.0","id":` + id + `,"result":{"content":[],"isError":true}}` + "\n"
		}
		return `{"jsonrpc":"2.0","id":` + id + `,"result":{"content":[]}}` + "\n"
	})
	s.awaitVerified(1)
	script, err := work.Work{Verify: ask.Whoami, Naming: work.ByAnswer, Steps: []work.Step{
		{Name: "echo", Method: "tools/call", Params: json.RawMessage(`{"name":"echo"}`), Weight: 1},
	}}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	s.on(func() {
		s.script = script
		s.ping(mono.Now(), 1000, &wire.PingOrder{For: 10 * time.Millisecond, Record: true})
	})
	n := s.await("answers", func(n wire.Counts) bool { return n.Requests.Sent == 10 && n.Requests.UnderWay() == 0 })
	if n.Moved != 0 || n.Requests.Answered != 8 || n.Requests.Failed != 2 {
		t.Errorf("%+v", n)
	}
	s.on(func() {
		m, err := s.tally.Measured(s.script)
		must(t, err)
		if l, err := m.Nodes["a"].Recording(); len(m.Nodes) != 1 || err != nil || l.Histogram.TotalCount() != 8 {
			t.Errorf("%+v", m)
		}
	})
}
