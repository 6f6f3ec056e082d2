package worker

import (
	"testing"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
)

// allBench is a worker with both frontends.
type allBench struct {
	*bench
	http *webFrontend
}

// startBoth runs one over nodes.
func startBoth(t testing.TB, nodes []string, change func(*proxy.Spec)) *allBench {
	t.Helper()
	b := new(allBench)
	t.Cleanup(func() {
		if left := b.http.standing(); left.pooled != 0 || left.zipping != 0 {
			t.Errorf("left are %+v", left)
		}
	})
	b.bench = startBench(t, nodes, change, func(h *hub) (_ []frontend, acceptors map[string]reactor.Acceptor) {
		tcp, http := newLine(h), newWeb(h)
		b.http = http
		return []frontend{http, tcp}, acceptorsOf(tcp, http)
	})
	return b
}

// startWorker runs one of which no more is known.
func startWorker(t testing.TB, nodes []string, change func(*proxy.Spec)) *bench {
	t.Helper()
	return startBoth(t, nodes, change).bench
}
