package worker

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// webSituation is one of this frontend.
type webSituation struct {
	*situation
	http *webFrontend
}

func webSituations(t *testing.T) webSituation {
	var s webSituation
	s.situation = situations(t, func(h *hub) ([]frontend, map[string]reactor.Acceptor) {
		s.http = newWeb(h)
		return []frontend{s.http}, nil
	})
	return s
}

// asks has the client ask for something.
func (s *webSituation) asks(t *rapid.T, head string) (*exchange, *http1.Request) {
	w, r := s.http, &s.http.request
	if _, err := r.Parse([]byte(head)); err != nil {
		t.Fatal(err)
	}
	x := w.takeExchange(&httpClient{w: w})
	x.origin = origin{addr: s.addr, source: w.board.Sources().Find(s.addr, w.loop.Now()), exempt: policy.Contains(w.limits.Exempt, s.addr)}
	return x, r
}

// Whatever the state, a client gets what it was told.
func TestExplanationAgreesWithTheWorkerOverHTTP(t *testing.T) {
	s := webSituations(t)
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			s.draw(t)
			s.compare(t)
		}
	})
}

func (s *webSituation) compare(t *rapid.T) {
	w, now := s.http, s.http.loop.Now()
	e := s.explainer().Explain(netip.PrefixFrom(s.addr, 32), nil)
	source, exempt := w.board.Sources().Find(s.addr, now), policy.Contains(w.limits.Exempt, s.addr)
	reason, _, ok := w.mayEnter(source, s.addr, exempt, now)
	if !ok {
		agrees(t, "http", e.HTTP.Outcome, reason, nil)
		return
	}
	var b *backend
	x, r := s.asks(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	is := x.examine(r)
	if !is.no.None() {
		reason = is.no.Reason
	} else {
		b, reason = x.choose(r)
	}
	agrees(t, "http", e.HTTP.Outcome, reason, b)
	if waits := is.wait > 0; b != nil && waits != (!exempt && e.Message.WaitMs > 0) {
		t.Fatalf("told that %+v, it waits: %v", e.Message, waits)
	}
}

// Whatever the state, a session or a cookie leads where it was told.
func TestTagExplanationAgreesWithTheWorker(t *testing.T) {
	s := webSituations(t)
	rapid.Check(t, func(t *rapid.T) {
		s.draw(t)
		kind := rapid.SampledFrom([]string{proxy.TagSession, proxy.TagCookie}).Draw(t, "kind")
		slot := rapid.IntRange(affinity.Unknown, 3).Draw(t, "node")
		var value, head string
		if kind == proxy.TagSession {
			began := affinity.At(time.Now().Add(rapid.SampledFrom([]time.Duration{-time.Minute, time.Minute}).Draw(t, "began")))
			value = string(s.http.ring.AppendSession(nil, []byte("id"), slot, began))
			head = "Mcp-Session-Id: " + value
		} else {
			value = string(s.http.ring.AppendCookie(nil, slot))
			head = "Cookie: a=b; " + s.spec.Spec.Sticky.Cookie + "=" + value
		}
		e := s.explainer().Tag(proxy.TagRequest{Kind: kind, Value: value}, s.http.ring, nil)
		x, r := s.asks(t, "GET / HTTP/1.1\r\nHost: a\r\n"+head+"\r\n\r\n")
		b, reason := x.choose(r)
		switch kept := b != nil && (x.session || x.cookie == int8(b.slot)); {
		case kept != e.Kept, kept && b.name != e.Node:
			t.Fatalf("explained %+v, the worker goes to %v (%v)", e, b, reason)
		case x.session && !kept && policy.RefusalOf(reason, 0).Status != e.Status, !x.session && e.Status != 0:
			t.Fatalf("explained %+v, the worker refuses for %v", e, reason)
		}
	})
}
