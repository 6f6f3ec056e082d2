package line

import (
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/access"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// pair is one client and, once it is relayed, its connection to a node.
//
//	greeting ─▶ queued ─▶ connecting ─▶ relaying ─▶ flushing ─▶ (closed)
//	    └─────────┴───────────┴────────────┴─▶ dismissed ─────▶ (closed)
//
// It is counted on the board (held) from its admission until either the
// client is done or the pair is torn down, whichever comes first: before the
// client can know, so that one who comes back at once finds the room it left.
type pair struct {
	client reactor.Conn
	node   reactor.Conn
	timer  reactor.Timer
	w      *Frontend

	next, prev *pair         // among the pairs of its backend
	backend    *node         // nil unless connecting or relaying
	extra      *extra        // nil for most
	access     *access.Entry // nil while there is no access log
	lastActive int64         // when a byte last passed; begin of connecting before that
	resumeAt   int64         // end of throttling, 0 if not throttled
	tried      uint64        // nodes that failed this client, a bit per slot
	source     board.SlotID
	meter      meter
	seat       hub.SourceSeat
	state      pairState
	open       uint8 // connections attached and not yet closed
	full       ends  // takes no more: the client is not read
	ended      ends  // has ended its stream
	spoken     bool  // the client has said something
	midLine    bool  // the last byte passed to the client did not end a line
	held       bool  // counted on the board
	lingers    bool  // counted in Hub.Lingering
}

// ends is something that is so of either end of a pair.
type ends struct{ client, node bool }

// extra is what few pairs need.
type extra struct {
	// The client's own address and ours, as told by PROXY protocol; the zero
	// AddrPort if it was not.
	source, destination netip.AddrPort
	answers             []byte // error lines that await the end of the node's line
}

// rare returns the extra of a pair that needs one.
func (p *pair) rare() *extra {
	if p.extra == nil {
		p.extra = new(extra)
	}
	return p.extra
}

// origin returns the addresses told by PROXY protocol, if they were.
func (p *pair) origin() (source, destination netip.AddrPort, ok bool) {
	if p.extra == nil || !p.extra.source.IsValid() {
		return source, destination, false
	}
	return p.extra.source, p.extra.destination, true
}

// waiting reports whether answers wait for the end of the node's line.
func (p *pair) waiting() bool { return p.extra != nil && len(p.extra.answers) > 0 }

type pairState uint8

const (
	greeting   pairState = iota // awaiting a PROXY header
	queued                      // over the connection rate: no node is chosen before it conforms
	connecting                  // to a node
	relaying
	flushing  // the node has gone; the client takes its last words
	dismissed // told why, lingering until it has heard
)

// The two ends of a pair are told apart by their handlers' types.
type (
	clientEnd pair
	nodeEnd   pair
)

// enter counts the pair on the board.
func (p *pair) enter() {
	p.held = true
	p.w.Seat(p.source, &p.seat, p, p.meter.exempt)
}

// hold counts the pair as a connection to b.
func (p *pair) hold(b *node) {
	p.backend = b
	p.access.At(b.Name)
	b.Flow.Active.Add(1)
	p.prev, p.next = nil, b.pairs
	if p.next != nil {
		p.next.prev = p
	}
	b.pairs = p
}

// leave undoes the node's part of hold.
func (p *pair) leave() {
	b := p.backend
	if b == nil {
		return
	}
	p.backend = nil
	b.Flow.Active.Add(-1)
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		b.pairs = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	p.next, p.prev = nil, nil
}

// release undoes enter and hold, once.
func (p *pair) release() {
	p.leave()
	if p.held {
		p.held = false
		p.w.Unseat(p.source, &p.seat)
	}
}

// close ends both connections at once.
func (p *pair) close() {
	p.release()
	p.client.Close()
	p.node.Close()
}

// gone is called as each end has closed; after the last the pair is nobody's.
func (p *pair) gone() {
	if p.open--; p.open > 0 {
		return
	}
	w := p.w
	w.Open--
	w.Loop.Cancel(&p.timer)
	if p.lingers {
		w.Lingering--
	}
	if p.state == queued {
		w.Held--
	}
	p.release()
	w.Access.End(p.access, access.FrontendTCP, w.Loop.Now())
	w.EndIfDrained()
}

// flushTime is how long a client has to take the last words of its node
// that the kernel has not taken yet.
const flushTime = 5 * time.Second

// refuse turns a client away.
func (p *pair) refuse(reason board.Reason, wait time.Duration) {
	p.w.Cell.Refused[reason].Add(1)
	p.access.Refused(reason)
	p.dismiss(p.w.RefusalTo(p.source, reason, wait).AppendLine(nil))
}

// dismiss tells a client why it is not served any further, in one JSON-RPC
// error line, and closes once it has heard. Its input is read and dropped
// meanwhile: closing over unread input would reset the connection, and with it
// the answer.
func (p *pair) dismiss(line []byte) {
	w := p.w
	p.release()
	p.node.Close()
	p.state = dismissed
	p.lingers = true
	w.Lingering++
	if !p.midLine {
		p.client.Send(line)
	}
	p.client.CloseWrite()
	p.client.Resume()
	if w.Lingering > hub.MaxLingering {
		p.client.Close()
		return
	}
	w.Loop.Schedule(&p.timer, hub.LingerTime, p)
}

// flush gives a client the last words of its node and closes. As in dismiss,
// its input is dropped meanwhile.
func (p *pair) flush() {
	w := p.w
	p.state = flushing
	patience := hub.LingerTime
	if p.client.Pending() > 0 {
		patience = flushTime
	}
	w.Loop.Schedule(&p.timer, patience, p)
	if w.Lingering >= hub.MaxLingering {
		p.client.CloseAfterFlush()
		return
	}
	p.lingers = true
	w.Lingering++
	p.client.CloseWrite()
	p.client.Resume()
}

// OnTimer is the pair's one timer; what it means depends on the state.
func (p *pair) OnTimer(*reactor.Timer) {
	switch p.state {
	case greeting, flushing, dismissed:
		p.client.Close()
	case queued:
		if p.w.WaitsForRoom(&p.seat) {
			p.w.Loop.Schedule(&p.timer, hub.RoomLook, p)
			return
		}
		p.w.Held--
		p.w.begin(p, p.sourceHash())
	case connecting:
		p.w.connectTimeout(p)
	case relaying:
		p.tick()
	}
}

// proxyHeader is the header of p for its node.
func (p *pair) proxyHeader() []byte {
	if source, destination, ok := p.origin(); ok {
		return proxyproto.Append(nil, source, destination)
	}
	source, err1 := p.client.RemoteAddr()
	destination, err2 := p.client.LocalAddr()
	if err1 != nil || err2 != nil {
		// The client has just gone: a header without an address, and its end follows.
		return proxyproto.AppendLocal(nil)
	}
	return proxyproto.Append(nil, source, destination)
}

// Idle is since when nothing has passed.
func (p *pair) Idle() (since int64, loss int) {
	if p.state == relaying {
		return p.lastActive, hub.LosesNothing
	}
	return p.seat.Used(), hub.LosesNothing
}

// GiveWay tells the client why it is not served any more.
func (p *pair) GiveWay() {
	w := p.w
	if p.state == queued {
		w.Held--
	}
	w.CountCut(p.access, board.ReasonGaveWay)
	p.dismiss(policy.RefusalOf(board.ReasonGaveWay, 0).AppendLine(nil))
}

// cutOff ends a relay.
func (p *pair) cutOff(reason board.Reason) {
	p.w.CountCut(p.access, reason)
	p.close()
}
