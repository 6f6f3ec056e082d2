package worker

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// Whatever the state, a client gets what it was told.
func TestExplanationAgreesWithTheWorkerOverTCP(t *testing.T) {
	var w *lineFrontend
	s := situations(t, func(h *hub) ([]frontend, map[string]reactor.Acceptor) {
		w = newLine(h)
		return []frontend{w}, nil
	})
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			s.draw(t)
			now, before := w.loop.Now(), w.cell.Throttles.Load()
			e := s.explainer().Explain(netip.PrefixFrom(s.addr, 32), nil)
			source, exempt := w.board.Sources().Find(s.addr, now), policy.Contains(w.limits.Exempt, s.addr)
			reason, _, ok := w.mayEnter(source, s.addr, exempt, now)
			var b *backend
			if ok {
				var n *lineNode
				if n, reason = w.choose(&pair{w: w, source: source}, policy.HashAddr(s.addr)); n != nil {
					b = n.backend
				}
			}
			agrees(t, "tcp", e.Outcome, reason, b)
			if told := e.Connection.WaitMs; ok && !exempt && (told > 0) != (w.cell.Throttles.Load() > before) {
				t.Fatalf("told to wait %v ms, throttled %d times", told, w.cell.Throttles.Load()-before)
			}
		}
	})
}
