package web

import (
	"bytes"
	"time"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// route chooses the node of x, which see policy.Picker. Requests of the stateless era are balanced freely; those with
// a tag are not of it. Without a node, reason says why.
func (w *Frontend) route(x *exchange, r *http1.Request) (b *hub.Backend, reason board.Reason) {
	x.cookie = affinity.Unknown
	c := w.Picker.Choose(w.wishOf(x, r))
	if c.By == policy.ByCookie {
		x.cookie = int8(c.Node)
	}
	return w.Bring(c, x.source), c.Reason
}

// wishOf is what decides where x goes.
func (w *Frontend) wishOf(x *exchange, r *http1.Request) *policy.Wish {
	q := &w.Wish
	*q = policy.Wish{Now: w.Loop.Now(), Tried: x.tried, Bound: board.NoNode, Cookies: q.Cookies[:0]}
	if !x.stateless {
		x.belongs(w.tagOf(r, x.kind), q)
	}
	if q.Over = x.kind.transport(); q.Pin.Named {
		return q
	}
	q.Address = policy.HashAddr(x.addr)
	switch {
	case x.stateless:
	case x.kind == plainHTTP:
		w.readCookies(r, q)
	case w.Spec.Sticky.TCP == proxy.StickySource:
		q.Sticky = true
		q.Bound, _ = w.Board.Sources().Sticky(x.source)
	}
	return q
}

// belongs notes what a request is a part of.
func (x *exchange) belongs(t tag, q *policy.Wish) {
	q.Pin, q.Failure = t.Pin, x.failure.OfSession()
	x.since, x.kind = t.Since, t.kind
	x.session, x.endpoint = t.session, t.Named && !t.session
}

// hasOther reports whether another node could take x, and at once. That of a session alone knows it.
func (x *exchange) hasOther() bool {
	return !x.session && !x.endpoint && x.client.w.Picker.HasOther(x.kind.transport(), x.tried|1<<x.backend.Slot)
}

// tag is what a request says of the session, or of the legacy event stream, that it is a part of.
type tag struct {
	policy.Pin
	session bool
	kind    kind // of the request: it goes where the stream is
}

// tagOf reads the tag of a request that came by a route of a kind.
func (w *Frontend) tagOf(r *http1.Request, k kind) tag {
	none := tag{kind: k}
	if !w.Spec.Sticky.MCPSession {
		return none
	}
	if _, slot, since, ok := w.ring.Session(r.Get("mcp-session-id")); ok {
		return tag{policy.Pin{Named: true, Node: slot, Since: since}, true, k}
	}
	at, ok := w.endpointOf(r)
	switch {
	case !ok, at.Node == affinity.Unknown && k != legacySSE: // elsewhere it only looks like a tag
		return none
	case at.Node != affinity.Unknown && at.Plain:
		k = plainHTTP
	default:
		k = legacySSE
	}
	return tag{policy.Pin{Named: true, Node: at.Node, Since: at.Since}, false, k}
}

// servedAt is where the node serves x, and since when.
func (x *exchange) servedAt() affinity.Place {
	return affinity.Place{Node: x.backend.Slot, Plain: x.port.Transport == board.HTTP, Since: x.since}
}

// isTagged reports whether a request has the tag of a present node: a node has given its client a session
// or a stream then, and is looked for, whatever revision the request claims to be of.
func (w *Frontend) isTagged(r *http1.Request) bool {
	if !w.Spec.Sticky.MCPSession {
		return false
	}
	if w.hasSession(r) {
		return true
	}
	at, _ := w.endpointOf(r)
	return at.Node != affinity.Unknown
}

// endpointOf is the place of the legacy event stream to whose endpoint a request posts, as [affinity.Ring.Endpoint] has it.
func (w *Frontend) endpointOf(r *http1.Request) (at affinity.Place, ok bool) {
	if string(r.Method) != "POST" {
		return affinity.Place{Node: affinity.Unknown}, false
	}
	_, at, ok = w.ring.Endpoint(*endOfTarget(r))
	return at, ok
}

// birth is the time in the tag of what now begins at the port. It is not before the present process is thought
// to have begun, whatever the clock says by now.
func (p *port) birth() affinity.Time {
	now := affinity.At(time.Now())
	if policy.IsBuried(p.Cell, now) {
		now = affinity.Time(p.Cell.Life.Load())
	}
	return now
}

// endOfTarget is where the tag of an endpoint is.
func endOfTarget(r *http1.Request) *[]byte {
	if r.Query != nil {
		return &r.Query
	}
	return &r.Path
}

// date dates the session or endpoint that the node names. Of one that the client has named it stays as it is: it
// gets its own id again.
func (x *exchange) date() {
	if !x.session {
		x.since = x.port.birth()
	}
}

// readCookies notes the nodes that the client's cookies name.
func (w *Frontend) readCookies(r *http1.Request, q *policy.Wish) {
	if w.Spec.Sticky.HTTP != proxy.StickyCookie {
		return
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; http1.EqualFold(f.Name, "cookie") {
			if value := cookieOf(f.Value, w.cookie); value != nil {
				if slot, _ := w.ring.Cookie(value); slot != affinity.Unknown {
					q.Cookies = append(q.Cookies, int8(slot))
				}
			}
		}
	}
}

// cookieOf returns the value of our cookie, which begins with ours, in a Cookie field, or nil.
func cookieOf(field, ours []byte) (value []byte) {
	for len(field) > 0 {
		var pair []byte
		pair, field, _ = bytes.Cut(field, []byte(";"))
		if value, ok := bytes.CutPrefix(bytes.TrimSpace(pair), ours); ok {
			return value
		}
	}
	return nil
}

// appendOtherCookies appends a Cookie field without our cookie, which begins with ours and is no business
// of the node; nothing if no other is left.
func appendOtherCookies(dst, name, value, ours []byte) []byte {
	start := len(dst)
	for len(value) > 0 {
		var pair []byte
		pair, value, _ = bytes.Cut(value, []byte(";"))
		pair = bytes.TrimSpace(pair)
		if len(pair) == 0 || bytes.HasPrefix(pair, ours) {
			continue
		}
		if len(dst) == start {
			dst = append(append(dst, name...), ": "...)
		} else {
			dst = append(dst, "; "...)
		}
		dst = append(dst, pair...)
	}
	if len(dst) > start {
		dst = append(dst, "\r\n"...)
	}
	return dst
}
