package worker

import (
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hubtest"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/line"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/web"
)

// bench is a worker with both frontends.
type bench struct {
	*hubtest.Bench
	http *web.Frontend
}

// startWorker runs one over nodes.
func startWorker(t testing.TB, nodes []string, change func(*proxy.Spec)) *bench {
	t.Helper()
	b := new(bench)
	t.Cleanup(func() {
		if left := b.http.Standing(); left.Pooled != 0 || left.Zipping != 0 {
			t.Errorf("left are %+v", left)
		}
	})
	b.Bench = hubtest.Start(t, nodes, change, func(h *hub.Hub) []hub.Frontend {
		b.http = web.New(h)
		return []hub.Frontend{b.http, line.New(h)}
	})
	return b
}
