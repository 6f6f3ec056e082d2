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
