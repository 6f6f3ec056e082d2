package worker

import (
	"testing"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// lineBench is a worker of this frontend alone.
type lineBench struct {
	*bench
	tcp *lineFrontend
}

// startLine runs one over nodes.
func startLine(t testing.TB, nodes []string, change func(*proxy.Spec)) *lineBench {
	t.Helper()
	b := new(lineBench)
	b.bench = startBench(t, nodes, change, func(h *hub) ([]frontend, map[string]reactor.Acceptor) {
		b.tcp = newLine(h)
		return []frontend{b.tcp}, map[string]reactor.Acceptor{wire.FileTCP: b.tcp}
	})
	return b
}
