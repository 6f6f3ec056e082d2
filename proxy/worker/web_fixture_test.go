package worker

import (
	"testing"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// webBench is a worker of this frontend alone.
type webBench struct {
	*bench
	http *webFrontend
}

// startWeb runs one over nodes.
func startWeb(t testing.TB, nodes []string, change func(*proxy.Spec)) *webBench {
	t.Helper()
	b := new(webBench)
	t.Cleanup(func() {
		if left := b.http.standing(); left.pooled != 0 || left.zipping != 0 {
			t.Errorf("left are %+v", left)
		}
	})
	b.bench = startBench(t, nodes, change, func(h *hub) ([]frontend, map[string]reactor.Acceptor) {
		b.http = newWeb(h)
		return []frontend{b.http}, map[string]reactor.Acceptor{wire.FileHTTP: b.http.plain(), wire.FileHTTPS: b.http.secure()}
	})
	return b
}
