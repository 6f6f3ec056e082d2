package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// The way in over TLS: accept ─▶ admit, as over HTTP ─▶ handshake, off the loop.
//
// A connection is charged to its source before the handshake, so that those who finish none are bound by
// the same rate, held, refused and banned like others. Who comes by a trusted peer is known only
// behind its PROXY header, and admitted after the handshake.
//
// From then on the client is an httpClient like others, with a layer below.

const (
	// maxHandshakes bounds the handshakes of a worker that are under way: each has a goroutine and some
	// 30 KB.
	maxHandshakes = 1024
	// handshakeTime is how long one may take, the PROXY header before it included.
	handshakeTime = 10 * time.Second
	// hurriedHandshake is how long one may take that begins when half of maxHandshakes are under way: who is
	// not in earnest then soon makes room.
	hurriedHandshake = time.Second
	// lateRequest is how long a client that was let in while the worker drains has to ask something.
	lateRequest = 2 * time.Second
)

// httpsAcceptor takes newcomers of the HTTPS listener.
type httpsAcceptor worker

// OnAccept begins the handshake with a newcomer.
func (a *httpsAcceptor) OnAccept(fd int, peer netip.AddrPort) {
	w := (*worker)(a)
	w.cell.Accepted.Add(1)
	greets := contains(w.limits.trusted, peer.Addr())
	h := &handshake{w: w, peer: peer, addr: peer.Addr(), greets: greets, fd: fd, out: &w.tls.out}
	if h.limited = !greets && !contains(w.limits.exempt, peer.Addr()); !h.limited {
		h.begin()
		return
	}
	now := w.loop.Now()
	h.source = w.board.Sources().Find(peer.Addr(), now)
	reason, wait, ok := w.permits(h.source, now, w.patience())
	switch {
	case !ok && (reason == board.ReasonBan || w.tls.bySource[h.source] >= w.limits.connection.atOnce()):
		w.turnAwayUnheard(fd, reason)
	case !ok:
		h.refused, h.reason, h.wait = true, reason, wait // and told so
		h.begin()
	default:
		h.until = now + int64(w.limits.patience)
		h.hold(wait)
	}
}

// hold has a handshake begin after wait.
func (h *handshake) hold(wait time.Duration) {
	if wait <= 0 {
		h.begin()
		return
	}
	h.w.entered()
	h.w.held++
	h.w.loop.Schedule(&h.timer, wait, h)
}

// OnTimer is the end of hold.
func (h *handshake) OnTimer(*reactor.Timer) {
	h.w.held--
	h.w.open--
	h.begin()
	h.w.endIfDrained()
}

// placeWait is how long a handshake waits for others of its source to be over before it looks again.
const placeWait = 50 * time.Millisecond

// begin shakes hands, if there is a place.
func (h *handshake) begin() {
	w := h.w
	full := h.limited && w.tls.bySource[h.source] >= w.limits.connection.atOnce()
	switch {
	case w.tls.shaking >= maxHandshakes || w.tls.config == nil:
		w.turnAwayUnheard(h.fd, board.ReasonWorkerFull)
	case full && w.loop.Now() < h.until && w.patience() > 0:
		h.hold(placeWait)
	case full:
		w.violation(h.source, w.loop.Now(), "handshakes")
		w.turnAwayUnheard(h.fd, board.ReasonRate)
	default:
		w.entered()
		w.tls.shaking++
		w.tls.count(h, 1)
		config, patience := w.tls.config, w.handshakePatience()
		go func() {
			h.run(h.fd, config, patience)
			w.loop.Post(func() { w.shaken(h) })
		}()
	}
}

// OnAcceptError reports that newcomers have to wait in the kernel's queue.
func (a *httpsAcceptor) OnAcceptError(err error) { (*worker)(a).OnAcceptError(err) }

// handshakePatience is how long a handshake that begins now may take.
func (w *worker) handshakePatience() time.Duration {
	patience := handshakeTime
	if w.tls.shaking > maxHandshakes/2 {
		patience = hurriedHandshake
	}
	if t := w.spec.Timeouts.Request; t > 0 {
		patience = min(patience, t)
	}
	return patience
}

// count keeps account of the handshakes of a source. It may have as many under way as connections it
// may make at once: they hold a place each, and are admitted when they are over.
func (e *tlsEnd) count(h *handshake, by int) {
	if !h.limited {
		return
	}
	if e.bySource == nil {
		e.bySource = make(map[board.SlotID]int)
	}
	if e.bySource[h.source] += by; e.bySource[h.source] == 0 {
		delete(e.bySource, h.source)
	}
}

// turnAwayUnheard closes a connection that is not worth a handshake.
func (w *worker) turnAwayUnheard(fd int, reason board.Reason) {
	w.cell.Refused[reason].Add(1)
	_ = unix.Close(fd)
}

// shaken takes the outcome of a handshake.
func (w *worker) shaken(h *handshake) {
	w.tls.shaking--
	w.tls.count(h, -1)
	if h.err == nil {
		c := w.takeClient()
		c.secure, c.wire = true, h.wire
		layer := &tlsLayer{conn: &c.conn, tls: h.tls, wire: h.wire}
		if h.err = w.loop.AttachLayered(&c.conn, h.fd, c, layer); h.err == nil {
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
	w.open--
	w.cell.Refused[board.ReasonHandshake].Add(1)
	if errors.Is(h.err, errProxyHeader) {
		w.complain("PROXY header", "peer", h.peer, "err", h.err)
	} else if now := w.loop.Now(); w.tls.complaint == 0 || now-w.tls.complaint >= int64(complaintEvery) {
		w.tls.complaint = now
		w.log.Debug("TLS handshake", "client", h.peer, "err", h.err)
	}
	w.endIfDrained()
}

// chargeFailed has the failed handshake of a client that a trusted peer has named count as a connection
// of its source, as others do before. The peer is not charged for those that it has not named.
func (w *worker) chargeFailed(h *handshake) {
	if h.greets && h.addr != h.peer.Addr() && !contains(w.limits.exempt, h.addr) {
		now := w.loop.Now()
		_, _, _ = w.permits(w.board.Sources().Find(h.addr, now), now, 0) // it is let go either way
	}
}

// handshake is one under way. It belongs to its goroutine until that posts it.
type handshake struct {
	w       *worker
	timer   reactor.Timer // before it
	until   int64         // when it has to begin, or it is refused
	peer    netip.AddrPort
	greets  bool // begins with a PROXY header
	limited bool // counted for source
	source  board.SlotID
	refused bool // is told so behind it: why, and for how long to stay away
	reason  board.Reason
	wait    time.Duration
	out     *[]byte

	// The outcome.
	addr netip.Addr // of the client
	fd   int        // of the client before it, too
	tls  *tls.Conn
	wire *tlsWire
	err  error
}

// run shakes hands over the socket. Its descriptor is another one afterwards, or closed.
func (h *handshake) run(fd int, config *tls.Config, patience time.Duration) {
	file := os.NewFile(uintptr(fd), "client") // non-blocking, so it waits in the runtime's poller
	defer file.Close()
	if h.err = file.SetDeadline(time.Now().Add(patience)); h.err != nil {
		return
	}
	if h.greets {
		if h.err = h.greeted(file); h.err != nil {
			return
		}
	}
	h.wire = &tlsWire{file: file, out: h.out}
	h.tls = tls.Server(h.wire, config)
	if h.err = h.tls.Handshake(); h.err != nil {
		var plain tls.RecordHeaderError
		if errors.As(h.err, &plain) && plain.Conn != nil && speaksHTTP(plain.RecordHeader) {
			_, _ = io.WriteString(file, plainAnswer)
		}
		return
	}
	h.wire.file = nil
	h.fd, h.err = duplicate(file)
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

// duplicate returns a further descriptor of the file, which the runtime's poller does not know.
func duplicate(file *os.File) (fd int, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	err = raw.Control(func(of uintptr) { fd, failed = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, failed)
}

// greeted reads the PROXY header of a trusted peer, and nothing behind it.
func (h *handshake) greeted(r io.Reader) error {
	var room [maxProxyHeader]byte
	for size := 0; ; {
		header, n, err := parseProxyHeader(room[:size])
		if err != nil {
			return err
		}
		if n > 0 {
			if !header.local {
				h.addr = header.source.Addr()
			}
			return nil
		}
		more := proxyHeaderLeft(room[:size])
		if _, err := io.ReadFull(r, room[size:size+more]); err != nil {
			return fmt.Errorf("PROXY header: %w", err)
		}
		size += more
	}
}
