package web

import (
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/crowd"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/internal/tlslayer"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxyproto"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hub"
)

// The way in over TLS: accept ─▶ admit, as over HTTP ─▶ handshake, off the loop.
//
// A connection is charged to its source before the handshake, and counts as one from then on, so that those who finish
// none are bound by the same limits, held, refused and banned like others. Who comes by a trusted peer is known only
// behind its PROXY header, and admitted after the handshake.
//
// Where as many are under way as there may be, the oldest of the source that has most gives way to a
// newcomer: who is in earnest is done within milliseconds.
//
// From then on it is a client like others, with a layer below.

const (
	// MaxHandshakes bounds the handshakes of a worker that are under way, to fewer where descriptors are few: each has
	// a goroutine and some 30 KB.
	MaxHandshakes = 1024
	// handshakeTime is how long one may take, the PROXY header before it included.
	handshakeTime = 10 * time.Second
	// hurriedHandshake is how long one may take that begins when half of them are under way: who is
	// not in earnest then soon makes room.
	hurriedHandshake = time.Second
	// lateRequest is how long a client that was let in while the worker drains has to ask something.
	lateRequest = 2 * time.Second
)

// tlsAcceptor takes newcomers of the HTTPS listener.
type tlsAcceptor Frontend

// OnAccept begins the handshake with a newcomer.
func (a *tlsAcceptor) OnAccept(fd int, peer netip.AddrPort) {
	w := (*Frontend)(a)
	w.Cell.Accepted.Add(1)
	greets := policy.Contains(w.Limits.Trusted, peer.Addr())
	h := &handshake{w: w, peer: peer, addr: peer.Addr(), greets: greets, fd: fd, out: &w.tls.out}
	now := w.Loop.Now()
	h.source = w.Board.Sources().Find(peer.Addr(), now)
	if h.limited = !greets && !policy.Contains(w.Limits.Exempt, peer.Addr()); !h.limited {
		w.Board.Sources().Enter(w.Index, h.source)
		h.begin()
		return
	}
	reason, wait, ok := w.Permits(h.source, peer.Addr(), now, w.Patience())
	w.Board.Sources().Enter(w.Index, h.source)
	switch {
	case !ok && (reason == board.ReasonBan || h.ownFull()):
		h.turnAway(reason)
	case !ok:
		h.refused, h.reason, h.wait = true, reason, wait // and told so
		h.begin()
	default:
		h.until = now + int64(w.Limits.Patience)
		h.hold(wait)
	}
}

// ownFull reports that as many handshakes of the source are under way as connections it may make at once: they hold a
// place each, and are admitted when they are over.
func (h *handshake) ownFull() bool {
	w := h.w
	return h.limited && w.tls.crowd.Held(h.source) >= w.Limits.Connection.AtOnce()
}

// hold has a handshake begin after wait.
func (h *handshake) hold(wait time.Duration) {
	if wait <= 0 {
		h.begin()
		return
	}
	h.w.Entered()
	h.w.Held++
	h.w.Loop.Schedule(&h.timer, wait, h)
}

// OnTimer is the end of hold.
func (h *handshake) OnTimer(*reactor.Timer) {
	h.w.Held--
	h.w.Open--
	h.begin()
	h.w.EndIfDrained()
}

// placeWait is how long a handshake waits for others of its source to be over before it looks again.
const placeWait = 50 * time.Millisecond

// begin shakes hands, if there is a place.
func (h *handshake) begin() {
	w, now := h.w, h.w.Loop.Now()
	crowd, full := &w.tls.crowd, h.ownFull()
	switch {
	case w.tls.config == nil, w.tls.shaking >= w.maxHandshakes()+MaxHandshakes: // those that gave way are still at it
		h.turnAway(board.ReasonWorkerFull)
		return
	case full && now < h.until && w.Patience() > 0:
		h.hold(placeWait)
		return
	case full:
		w.Violation(h.source, h.addr, now, "handshakes")
		w.oldestGivesWay(h.source)
	case crowd.Seats() >= w.maxHandshakes():
		busiest, _, _ := crowd.Busiest(nil)
		w.oldestGivesWay(busiest)
	}
	w.Entered()
	w.tls.shaking++
	h.began = now
	h.file = os.NewFile(uintptr(h.fd), "client") // non-blocking, so it waits in the runtime's poller
	crowd.Sit(h.source, &h.seat, h, now)
	h.err = h.file.SetDeadline(time.Now().Add(w.handshakePatience()))
	config := w.tls.config
	go func() {
		h.run(config)
		w.Loop.Post(func() { w.shaken(h) })
	}()
}

// maxHandshakes is how many may be under way.
func (w *Frontend) maxHandshakes() int { return min(MaxHandshakes, max(w.Max/2, 1)) }

// oldestGivesWay ends the oldest handshake of a source. It makes room at once, though its goroutine has to
// notice yet.
func (w *Frontend) oldestGivesWay(source board.SlotID) {
	if h, ok := w.tls.crowd.Idlest(source, w.Loop.Now()); ok {
		w.tls.crowd.Leave(h.source, &h.seat)
		h.gaveWay = true
		_ = h.file.SetDeadline(time.Unix(1, 0)) // fails if it has just ended by itself
	}
}

// Idle is since when it is under way.
func (h *handshake) Idle() (since int64, loss int) { return h.began, hub.LosesNothing }

// handshakePatience is how long a handshake that begins now may take.
func (w *Frontend) handshakePatience() time.Duration {
	patience := handshakeTime
	if w.tls.shaking > w.maxHandshakes()/2 {
		patience = hurriedHandshake
	}
	if t := w.Spec.Timeouts.Request; t > 0 {
		patience = min(patience, t)
	}
	return patience
}

// turnAway closes a connection that is not worth a handshake.
func (h *handshake) turnAway(reason board.Reason) {
	h.w.Cell.Refused[reason].Add(1)
	_ = unix.Close(h.fd)
	h.leave()
}

// leave has the handshake count no more.
func (h *handshake) leave() {
	w := h.w
	w.tls.crowd.Leave(h.source, &h.seat)
	w.Board.Sources().Leave(w.Index, h.source, w.Loop.Now())
}

// shaken takes the outcome of a handshake.
func (w *Frontend) shaken(h *handshake) {
	w.tls.shaking--
	h.leave()
	if h.err == nil {
		c := w.takeClient()
		c.secure, c.layer = true, h.layer
		c.layer.Bind(&c.conn)
		if h.err = w.Loop.AttachLayered(&c.conn, h.fd, c, c.layer); h.err == nil {
			switch {
			case h.refused:
				c.identify(h.addr)
				c.turnAway(h.reason, h.wait)
			case h.limited:
				c.identify(h.addr)
				c.welcome()
			default:
				c.admit(h.addr)
			}
			return
		}
		w.putClient(c)
	} else {
		w.chargeFailed(h)
	}
	w.Open--
	if w.Cell.Refused[board.ReasonHandshake].Add(1); h.gaveWay {
		w.Cell.Cut[board.ReasonGaveWay].Add(1)
	}
	if errors.Is(h.err, proxyproto.ErrHeader) {
		w.Complain("PROXY header", "peer", h.peer, "err", h.err)
	} else if now := w.Loop.Now(); w.tls.complaint == 0 || now-w.tls.complaint >= int64(hub.ComplaintEvery) {
		w.tls.complaint = now
		w.Log.Debug("TLS handshake", "client", h.peer, "err", h.err)
	}
	w.EndIfDrained()
}

// chargeFailed has the failed handshake of a client that a trusted peer has named count as a connection
// of its source, as others do before. The peer is not charged for those that it has not named.
func (w *Frontend) chargeFailed(h *handshake) {
	if h.greets && h.addr != h.peer.Addr() && !policy.Contains(w.Limits.Exempt, h.addr) {
		now := w.Loop.Now()
		_, _, _ = w.Permits(w.Board.Sources().Find(h.addr, now), h.addr, now, 0) // it is let go either way
	}
}

// handshake is one under way. It belongs to its goroutine until that posts it.
type handshake struct {
	w       *Frontend
	timer   reactor.Timer // before it
	until   int64         // when it has to begin, or it is refused
	peer    netip.AddrPort
	greets  bool // begins with a PROXY header
	limited bool // by what its source may do
	source  board.SlotID
	seat    crowd.Seat[board.SlotID, *handshake]
	began   int64
	gaveWay bool // to another one
	file    *os.File
	refused bool // is told so behind it: why, and for how long to stay away
	reason  board.Reason
	wait    time.Duration
	out     *[]byte

	// The outcome.
	addr  netip.Addr // of the client
	fd    int        // of the client before it, too
	layer *tlslayer.Layer
	err   error
}

// run shakes hands over the socket. Its descriptor is another one afterwards, or closed.
func (h *handshake) run(config *tls.Config) {
	file := h.file
	defer file.Close()
	if h.err != nil {
		return
	}
	if h.greets {
		if h.err = h.greeted(file); h.err != nil {
			return
		}
	}
	h.layer = tlslayer.Server(file, config, h.out)
	if h.err = h.layer.Handshake(); h.err != nil {
		var plain tls.RecordHeaderError
		if errors.As(h.err, &plain) && plain.Conn != nil && speaksHTTP(plain.RecordHeader) {
			_, _ = io.WriteString(file, plainAnswer)
		}
		return
	}
	h.fd, h.err = prefork.Duplicate(file)
}

// plainAnswer is for those who have the port right and the scheme wrong.
const plainAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 27\r\n\r\nthis port speaks TLS: https"

// speaksHTTP reports whether a client has begun with the method of a request.
func speaksHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}

// greeted reads the PROXY header of a trusted peer, and nothing behind it.
func (h *handshake) greeted(r io.Reader) error {
	header, err := proxyproto.Read(r)
	if err == nil && !header.Local {
		h.addr = header.Source.Addr()
	}
	return err
}
