package proxy

import (
	"bytes"
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
)

// requestHead is the head of the request that a node is chosen for.
type requestHead = *http1.Request

// route chooses the node of x: that of its MCP session, of its legacy event stream, of its cookie, of
// its source, or whichever the balance says. Requests of the stateless era are balanced freely; those with
// a tag are not of it.
// Without a node, reason says why.
func (w *worker) route(x *exchange, r requestHead) (b *backend, reason board.Reason) {
	if !x.stateless {
		if slot, ok := w.pinnedTo(x, r); ok {
			return w.sessionNode(x, slot)
		}
		if b := w.cookieNode(x, r); b != nil {
			return b, 0
		}
	}
	list, full := w.takers(x)
	if len(list) == 0 {
		return nil, noCandidate(full)
	}
	hash := hashAddr(x.addr)
	if x.kind != plainHTTP && !x.stateless && w.spec.Sticky.TCP == StickySource {
		return w.bySource(list, x.source, hash), 0
	}
	return w.backends[w.picker.pick(list, hash)], 0
}

// takers lists the nodes that could take x. Those whose port refused connections lately are among
// them only when there are no others that are up.
func (w *worker) takers(x *exchange) (list []candidate, full bool) {
	over, now := x.kind.transport(), w.loop.Now()
	avoided := uint64(0)
	for slot, b := range w.backends {
		if b != nil && b.over[over] != nil && b.over[over].pool.avoid > now {
			avoided |= 1 << slot
		}
	}
	if avoided != 0 {
		if list, full = w.picker.those(board.Up, w.board, &w.backends, over, x.tried|avoided); len(list) > 0 {
			return list, full
		}
	}
	return w.picker.candidates(w.board, &w.backends, over, x.tried)
}

// hasOther reports whether another node could take x, and at once.
func (w *worker) hasOther(x *exchange) bool {
	if x.session || x.endpoint {
		return false
	}
	list, _ := w.picker.those(board.Up, w.board, &w.backends, x.kind.transport(), x.tried|1<<x.backend.slot)
	return len(list) > 0
}

// pinnedTo finds the node that alone knows the session of the request. ok is false if the request
// names none; slot is affinity.Unknown if the node is gone, or its process of then.
func (w *worker) pinnedTo(x *exchange, r requestHead) (slot int, ok bool) {
	ring := w.http.ring
	if !w.spec.Sticky.MCPSession {
		return affinity.Unknown, false
	}
	if id := r.Get("mcp-session-id"); id != nil {
		if _, slot, x.since, ok = ring.Session(id); ok {
			x.session = true
			return w.ofThisLife(x, slot), true
		}
	}
	if string(r.Method) != "POST" {
		return affinity.Unknown, false
	}
	_, at, ok := ring.Endpoint(*endOfTarget(r))
	switch {
	case !ok:
		return affinity.Unknown, false
	case at.Node == affinity.Unknown:
		x.endpoint = x.kind == legacySSE // elsewhere it only looks like a tag
	case at.Plain:
		x.endpoint, x.kind = true, plainHTTP
	default:
		x.endpoint, x.kind = true, legacySSE
	}
	x.since = at.Since
	return w.ofThisLife(x, at.Node), x.endpoint
}

// servedAt is where the node serves x, and since when.
func (x *exchange) servedAt() affinity.Place {
	return affinity.Place{Node: x.backend.slot, Plain: x.port.transport == board.HTTP, Since: x.since}
}

// isTagged reports whether a request has the tag of a present node: a node has given its client a session
// or a stream then, and is looked for, whatever revision the request claims to be of.
func (w *worker) isTagged(r requestHead) bool {
	if !w.spec.Sticky.MCPSession {
		return false
	}
	slot := affinity.Unknown
	if id := r.Get("mcp-session-id"); id != nil {
		_, slot, _, _ = w.http.ring.Session(id)
	}
	if slot == affinity.Unknown && string(r.Method) == "POST" {
		_, at, _ := w.http.ring.Endpoint(*endOfTarget(r))
		slot = at.Node
	}
	return slot != affinity.Unknown
}

// ofThisLife is slot, or affinity.Unknown if the process that x.since is a time of is known to have ended.
func (w *worker) ofThisLife(x *exchange, slot int) int {
	if slot == affinity.Unknown || w.backends[slot] == nil {
		return affinity.Unknown
	}
	if p := w.backends[slot].over[x.kind.transport()]; p != nil && p.buried(x.since) {
		return affinity.Unknown
	}
	return slot
}

// buried reports that what began at since belongs to a process that has ended.
func (p *port) buried(since affinity.Time) bool {
	life := affinity.Time(p.cell.Life.Load())
	return life != 0 && since.Before(life)
}

// birth is the time in the tag of what now begins at the port. It is not before the present process is thought
// to have begun, whatever the clock says by now.
func (p *port) birth() affinity.Time {
	now := affinity.At(time.Now())
	if p.buried(now) {
		now = affinity.Time(p.cell.Life.Load())
	}
	return now
}

// endOfTarget is where the tag of an endpoint is.
func endOfTarget(r requestHead) *[]byte {
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

// sessionNode is the node of a session, silent, draining or not. The session ends with it, or when an operator
// has disabled it; but not with a request that the node has lost, or that cannot be brought to it
// though nobody refuses it there.
func (w *worker) sessionNode(x *exchange, slot int) (*backend, board.Reason) {
	switch {
	case !w.alive(x, slot):
		return nil, board.ReasonSessionGone
	case x.hasTried(slot):
		return nil, meanings[x.failure].ofSession
	case w.atCap(slot):
		return nil, board.ReasonFull
	}
	return w.backends[slot], 0
}

// serves reports whether x can be brought to a node that it belongs to.
func (w *worker) serves(x *exchange, slot int) bool { return w.alive(x, slot) && !x.hasTried(slot) }

func (x *exchange) hasTried(slot int) bool { return x.tried&(1<<slot) != 0 }

// alive reports whether a node, as far as is known, serves clients that belong to it.
func (w *worker) alive(x *exchange, slot int) bool {
	if slot < 0 || w.backends[slot] == nil {
		return false
	}
	p := w.backends[slot].over[x.kind.transport()]
	return p != nil && p.cell.Serves()
}

func (w *worker) atCap(slot int) bool {
	limit := w.backends[slot].cell.MaxConns.Load()
	return limit > 0 && w.board.NodeActive(slot) >= limit
}

// cookieNode is the node that the client's cookie names, or nil: then it gets another one.
func (w *worker) cookieNode(x *exchange, r requestHead) *backend {
	x.cookie = affinity.Unknown
	if w.spec.Sticky.HTTP != StickyCookie || x.kind != plainHTTP {
		return nil
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; http1.EqualFold(f.Name, "cookie") {
			if value := cookieOf(f.Value, w.http.cookie); value != nil {
				slot, _ := w.http.ring.Cookie(value)
				if w.serves(x, slot) && !w.atCap(slot) {
					x.cookie = int8(slot)
					return w.backends[slot]
				}
			}
		}
	}
	return nil
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
