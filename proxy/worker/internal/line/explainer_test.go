package line

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hubtest"
)

// Whatever the state, a client gets what it was told.
func TestExplanationAgreesWithTheWorkerOverTCP(t *testing.T) {
	var w *Frontend
	s := hubtest.Situations(t, func(h *hub.Hub) []hub.Frontend {
		w = New(h)
		return []hub.Frontend{w}
	})
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			s.Draw(t)
			now, before := w.Loop.Now(), w.Cell.Throttles.Load()
			e := s.Explainer().Explain(netip.PrefixFrom(s.Addr, 32), nil)
			source, exempt := w.Board.Sources().Find(s.Addr, now), policy.Contains(w.Limits.Exempt, s.Addr)
			reason, _, ok := w.MayEnter(source, s.Addr, exempt, now)
			var b *hub.Backend
			if ok {
				var n *node
				if n, reason = w.choose(&pair{w: w, source: source}, policy.HashAddr(s.Addr)); n != nil {
					b = n.Backend
				}
			}
			hubtest.Agrees(t, "tcp", e.Outcome, reason, b)
			if told := e.Connection.WaitMs; ok && !exempt && (told > 0) != (w.Cell.Throttles.Load() > before) {
				t.Fatalf("told to wait %v ms, throttled %d times", told, w.Cell.Throttles.Load()-before)
			}
		}
	})
}
