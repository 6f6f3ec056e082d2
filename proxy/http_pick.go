package proxy

import (
	"bytes"

	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
)

// requestHead is the head of the request that a node is chosen for.
type requestHead = *http1.Request

// route chooses the node of x: that of its MCP session, of its legacy event stream, of its cookie, of
// its source, or whichever the balance says. Requests of the stateless era are balanced freely.
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
// them only when there are no others.
func (w *worker) takers(x *exchange) (list []candidate, full bool) {
	over, now := x.kind.transport(), w.loop.Now()
	avoided := uint64(0)
	for slot, b := range w.backends {
		if b != nil && b.over[over] != nil && b.over[over].pool.avoid > now {
			avoided |= 1 << slot
		}
	}
	list, full = w.picker.candidates(w.board, &w.backends, over, x.tried|avoided)
	if len(list) == 0 && avoided != 0 {
		list, full = w.picker.candidates(w.board, &w.backends, over, x.tried)
	}
	return list, full
}

// hasOther reports whether another node could take x.
func (w *worker) hasOther(x *exchange) bool {
	if x.session || x.endpoint {
		return false
	}
	tried := x.tried
	x.tried |= 1 << x.backend.slot
	list, _ := w.takers(x)
	x.tried = tried
	return len(list) > 0
}

// pinnedTo finds the node that alone knows the session of the request. ok is false if the request
// names none; slot is affinity.Unknown if the node is gone.
func (w *worker) pinnedTo(x *exchange, r requestHead) (slot int, ok bool) {
	ring := w.http.ring
	if !w.spec.Sticky.MCPSession {
		return affinity.Unknown, false
	}
	if id := r.Get("mcp-session-id"); id != nil {
		if _, slot, ok = ring.Session(id); ok {
			x.session = true
			return slot, true
		}
	}
	if string(r.Method) != "POST" {
		return affinity.Unknown, false
	}
	_, slot, ok = ring.Endpoint(*endOfTarget(r))
	if slot == affinity.Unknown && x.kind != legacySSE {
		return slot, false // it only looks like a tag
	}
	if ok {
		x.endpoint, x.kind = true, legacySSE
	}
	return slot, ok
}

// endOfTarget is where the tag of an endpoint is.
func endOfTarget(r requestHead) *[]byte {
	if r.Query != nil {
		return &r.Query
	}
	return &r.Path
}

// sessionNode is the node of a session, draining or not. The session ends with it, or when an operator
// has disabled it; but not with a request that the node has lost, or that cannot be brought to it
// while the checks say that it is well.
func (w *worker) sessionNode(x *exchange, slot int) (*backend, board.Reason) {
	switch {
	case !w.alive(x, slot):
		return nil, board.ReasonSessionGone
	case x.hasTried(slot) && x.cut:
		return nil, board.ReasonNodeLost
	case x.hasTried(slot) && (x.starved || x.disagreed != ""):
		return nil, board.ReasonNoNode
	case x.hasTried(slot) && x.unheard:
		return nil, board.ReasonNodeTimeout
	case x.hasTried(slot):
		return nil, board.ReasonSessionGone
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

// cookieName is the cookie that names a client's node.
const cookieName = "SERVERID"

// cookieNode is the node that the client's cookie names, or nil: then it gets another one.
func (w *worker) cookieNode(x *exchange, r requestHead) *backend {
	x.cookie = affinity.Unknown
	if w.spec.Sticky.HTTP != StickyCookie || x.kind != plainHTTP {
		return nil
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; same(f.Name, "cookie") {
			if value := cookieOf(f.Value); value != nil {
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

// cookieOf returns the value of our cookie in a Cookie field, or nil.
func cookieOf(field []byte) (value []byte) {
	for len(field) > 0 {
		var pair []byte
		pair, field, _ = bytes.Cut(field, []byte(";"))
		if value, ok := bytes.CutPrefix(bytes.TrimSpace(pair), []byte(cookieName+"=")); ok {
			return value
		}
	}
	return nil
}

// appendOtherCookies appends a Cookie field without our cookie, which is no business of the node;
// nothing if no other is left.
func appendOtherCookies(dst, name, value []byte) []byte {
	start := len(dst)
	for len(value) > 0 {
		var pair []byte
		pair, value, _ = bytes.Cut(value, []byte(";"))
		pair = bytes.TrimSpace(pair)
		if len(pair) == 0 || bytes.HasPrefix(pair, []byte(cookieName+"=")) {
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
