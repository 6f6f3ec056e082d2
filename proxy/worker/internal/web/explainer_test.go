package web

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hubtest"
)

// situation is one of this frontend.
type situation struct {
	*hubtest.Situation
	http *Frontend
}

func webSituations(t *testing.T) situation {
	var s situation
	s.Situation = hubtest.Situations(t, func(h *hub.Hub) []hub.Frontend {
		s.http = New(h)
		return []hub.Frontend{s.http}
	})
	return s
}

// asks has the client ask for something.
func (s *situation) asks(t *rapid.T, head string) (*exchange, *http1.Request) {
	w, r := s.http, &s.http.request
	if _, err := r.Parse([]byte(head)); err != nil {
		t.Fatal(err)
	}
	x := w.takeExchange(&client{w: w})
	x.origin = origin{addr: s.Addr, source: w.Board.Sources().Find(s.Addr, w.Loop.Now()), exempt: policy.Contains(w.Limits.Exempt, s.Addr)}
	return x, r
}

// Whatever the state, a client gets what it was told.
func TestExplanationAgreesWithTheWorkerOverHTTP(t *testing.T) {
	s := webSituations(t)
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			s.Draw(t)
			s.compare(t)
		}
	})
}

func (s *situation) compare(t *rapid.T) {
	w, now := s.http, s.http.Loop.Now()
	e := s.Explainer().Explain(netip.PrefixFrom(s.Addr, 32), nil)
	source, exempt := w.Board.Sources().Find(s.Addr, now), policy.Contains(w.Limits.Exempt, s.Addr)
	reason, _, ok := w.MayEnter(source, s.Addr, exempt, now)
	if !ok {
		hubtest.Agrees(t, "http", e.HTTP.Outcome, reason, nil)
		return
	}
	var b *hub.Backend
	x, r := s.asks(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	wait, no := x.examine(r)
	if !no.None() {
		reason = no.Reason
	} else {
		b, reason = x.choose(r)
	}
	hubtest.Agrees(t, "http", e.HTTP.Outcome, reason, b)
	if waits := wait > 0; b != nil && waits != (!exempt && e.Message.WaitMs > 0) {
		t.Fatalf("told that %+v, it waits: %v", e.Message, waits)
	}
}

// Whatever the state, a session or a cookie leads where it was told.
func TestTagExplanationAgreesWithTheWorker(t *testing.T) {
	s := webSituations(t)
	rapid.Check(t, func(t *rapid.T) {
		s.Draw(t)
		kind := rapid.SampledFrom([]string{proxy.TagSession, proxy.TagCookie}).Draw(t, "kind")
		slot := rapid.IntRange(affinity.Unknown, 3).Draw(t, "node")
		var value, head string
		if kind == proxy.TagSession {
			began := affinity.At(time.Now().Add(rapid.SampledFrom([]time.Duration{-time.Minute, time.Minute}).Draw(t, "began")))
			value = string(s.http.ring.AppendSession(nil, []byte("id"), slot, began))
			head = "Mcp-Session-Id: " + value
		} else {
			value = string(s.http.ring.AppendCookie(nil, slot))
			head = "Cookie: a=b; " + s.Spec.Spec.Sticky.Cookie + "=" + value
		}
		e := s.Explainer().Tag(proxy.TagRequest{Kind: kind, Value: value}, s.http.ring, nil)
		x, r := s.asks(t, "GET / HTTP/1.1\r\nHost: a\r\n"+head+"\r\n\r\n")
		b, reason := x.choose(r)
		switch kept := b != nil && (x.session || x.cookie == int8(b.Slot)); {
		case kept != e.Kept, kept && b.Name != e.Node:
			t.Fatalf("explained %+v, the worker goes to %v (%v)", e, b, reason)
		case x.session && !kept && policy.RefusalOf(reason, 0).Status != e.Status, !x.session && e.Status != 0:
			t.Fatalf("explained %+v, the worker refuses for %v", e, reason)
		}
	})
}
