package line

import (
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hubtest"
)

// bench is a worker of this frontend alone.
type bench struct {
	*hubtest.Bench
	tcp *Frontend
}

// startWorker runs one over nodes.
func startWorker(t testing.TB, nodes []string, change func(*proxy.Spec)) *bench {
	t.Helper()
	b := new(bench)
	b.Bench = hubtest.Start(t, nodes, change, func(h *hub.Hub) []hub.Frontend {
		b.tcp = New(h)
		return []hub.Frontend{b.tcp}
	})
	return b
}

// full waits until the only client takes no more, so that its node is not read any further.
func (b *bench) full() (p *pair) {
	b.T.Helper()
	b.Eventually("the client to be full", func() (full bool) {
		b.On(func() {
			if p = b.tcp.nodes[0].pairs; p != nil {
				full = p.node.Paused()
			}
		})
		return full
	})
	return p
}
