package explain

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// Workers of which one is refused by a node differ, and both are told of.
func TestExplanationOfWorkersThatDiffer(t *testing.T) {
	b, err := board.Create(board.Layout{Workers: 2, Sources: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	spec := proxy.Default()
	spec.Balance = proxy.BalanceRoundRobin
	var slots []wire.NodeSlot
	for i := range 2 {
		slots = append(slots, wire.NodeSlot{Slot: i, Node: topology.Node{Name: fmt.Sprint("n", i), HTTP: 1}})
		proxytest.MarkUp(b, i)
	}
	ask := func() string {
		q := New(b, &spec, slots, netip.MustParseAddr("10.0.0.1"), mono.Now())
		e := q.Explain(netip.MustParsePrefix("10.0.0.1/32"), []PresentNode{{NodeStats: proxy.NodeStats{State: proxy.NodeUp}}})
		return fmt.Sprint(e.HTTP.Nodes, e.Choices[0].Excluded)
	}
	b.Worker(0).PID.Store(1)
	b.Worker(1).PID.Store(1)
	if got := ask(); got != "[n0]no port for tcp" {
		t.Errorf("explained %s", got)
	}
	spec.Listen = proxy.Listen{HTTP: "127.0.0.1:1"}
	if got := ask(); got != "[n0]" {
		t.Errorf("explained %s", got)
	}
	b.Flow(0, 0).Avoided[board.HTTP].Store(mono.Now() + int64(time.Hour))
	if got := ask(); got != "[n1 n0]refuses connections" {
		t.Errorf("explained %s", got)
	}
}
