package swarm

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"net/http"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/wsframe"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// sockets is WebSocket (RFC 6455): a message a text message.
type sockets struct {
	swarm    *Swarm
	requests *requests
	sockets  []socket
	sessions bool // a socket begins with initialize
	nonce    uint64
}

// socket is the connection of a client.
type socket struct {
	message   []byte     // the fragments so far
	doing     errandKind // of the introduction; errandOpen: not upgraded yet
	fragments bool       // a message is under way
	said      bool       // that the socket is to be closed
	served    uint8
}

func newSockets(s *Swarm) *sockets {
	w := &sockets{swarm: s, requests: newRequests(&s.endpoint), sockets: make([]socket, s.expected), nonce: rand.Uint64()}
	w.sessions = s.script.Work().Era == mcp.SessionEra
	return w
}

// key is what a client proves with that its server understood the upgrade.
func (w *sockets) key(c *client) []byte {
	var nonce [16]byte
	binary.BigEndian.PutUint64(nonce[:], w.nonce)
	binary.BigEndian.PutUint32(nonce[8:], uint32(c.index))
	binary.BigEndian.PutUint32(nonce[12:], c.begun)
	return base64.StdEncoding.AppendEncode(nil, nonce[:])
}

func (w *sockets) introduce(c *client) {
	s, q := w.swarm, w.requests
	w.sockets[c.index].doing = errandOpen
	s.message = q.appendHead(s.message[:0], http.MethodGet, q.path)
	s.message = q.appendField(s.message, "Upgrade", "websocket")
	s.message = q.appendField(s.message, "Connection", "Upgrade")
	s.message = q.appendField(s.message, "Sec-WebSocket-Version", "13")
	s.message = q.appendField(s.message, "Sec-WebSocket-Protocol", "mcp")
	s.message = http1.AppendField(s.message, []byte("Sec-WebSocket-Key"), w.key(c))
	s.message = append(s.message, "\r\n"...)
	c.conn.Send(s.message)
}

// accepted reports whether the head that was just parsed agrees to the upgrade.
func (w *sockets) accepted(c *client) bool {
	h := &w.swarm.head
	return h.Status == http.StatusSwitchingProtocols && http1.EqualFold(h.Upgrade, "websocket") &&
		string(h.Get("sec-websocket-accept")) == acceptOf(string(w.key(c))) && h.Get("sec-websocket-extensions") == nil
}

// acceptOf is what a server answers to a key.
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (w *sockets) ask(c *client, step int, id uint64) {
	c.begin()
	w.request(c, step, id)
}

func (w *sockets) request(c *client, step int, id uint64) {
	s := w.swarm
	if step == initialization {
		s.line = work.AppendInitialize(s.line[:0], id)
	} else {
		s.appendStep(c, step, id)
	}
	w.say(c, s.line)
}

// say sends a message, which is a line.
func (w *sockets) say(c *client, line []byte) { w.send(c, wsframe.Text, line[:len(line)-1]) }

func (w *sockets) tell(c *client, line []byte) {
	if c.conn.Pending() < maxTold {
		w.say(c, line)
	}
}

func (w *sockets) send(c *client, op wsframe.Opcode, payload []byte) {
	var mask [4]byte
	binary.LittleEndian.PutUint32(mask[:], rand.Uint32())
	w.swarm.message = wsframe.AppendMasked(w.swarm.message[:0], op, payload, mask)
	c.conn.Send(w.swarm.message)
}

func (w *sockets) read(c *client, p []byte) int {
	k := &w.sockets[c.index]
	used := 0
	if k.doing == errandOpen {
		if used = w.upgrade(c, k, p); used == 0 {
			return 0
		}
	}
	for c.conn.Open() {
		f, n, err := wsframe.Parse(p[used:], maxMessage)
		switch {
		case err != nil:
			c.drop(ask.CauseReply)
		case n == 0:
			return used
		}
		used += n
		if err == nil {
			w.frame(c, k, f)
		}
	}
	return used
}

// upgrade reads the response to the request for a socket.
func (w *sockets) upgrade(c *client, k *socket, p []byte) (used int) {
	s := w.swarm
	for {
		n, err := s.head.Parse(p[used:], false)
		if err != nil {
			c.drop(ask.CauseReply)
			return used
		}
		if n == 0 {
			return 0 // all of it once more
		}
		if used += n; s.head.Status >= 200 || s.head.Status == http.StatusSwitchingProtocols {
			break
		}
	}
	if !w.accepted(c) {
		c.drop(ask.CauseOfStatus(s.head.Status))
		return used
	}
	k.served = s.served()
	if w.sessions {
		k.doing = errandInitialize
		w.request(c, initialization, s.id(initialization))
	} else {
		w.verify(c, k)
	}
	return used
}

func (w *sockets) verify(c *client, k *socket) {
	k.doing = errandVerify
	w.request(c, work.Verification, w.swarm.id(work.Verification))
}

func (w *sockets) frame(c *client, k *socket, f wsframe.Frame) {
	switch f.Opcode {
	case wsframe.Ping:
		if c.conn.Pending() < maxTold {
			w.send(c, wsframe.Pong, f.Payload)
		}
	case wsframe.Pong:
	case wsframe.Close:
		if !k.said {
			k.said = true
			c.cause = ask.CauseClosed
			w.send(c, wsframe.Close, f.Payload[:min(len(f.Payload), 2)])
		}
		c.conn.CloseAfterFlush()
	default:
		w.fragment(c, k, f)
	}
}

// fragment takes a frame of a message.
func (w *sockets) fragment(c *client, k *socket, f wsframe.Frame) {
	switch {
	case k.fragments != (f.Opcode == wsframe.Continuation), len(k.message)+len(f.Payload) > maxMessage:
		c.drop(ask.CauseReply)
	case f.Final && !k.fragments:
		w.heard(c, k, f.Payload)
	default:
		if k.message == nil {
			k.message = w.swarm.borrow()
		}
		k.message = append(k.message, f.Payload...)
		if k.fragments = !f.Final; f.Final {
			text := k.message
			k.message = nil
			w.heard(c, k, text)
			w.swarm.giveBack(text)
		}
	}
}

// heard takes a message.
func (w *sockets) heard(c *client, k *socket, text []byte) {
	if k.doing != errandInitialize {
		c.answer(text, k.served)
		return
	}
	switch ok, cause := w.swarm.welcomed(text, w.requests); {
	case ok:
		c.welcomed()
		w.swarm.line = work.AppendInitialized(w.swarm.line[:0])
		w.say(c, w.swarm.line)
		w.verify(c, k)
	case cause != ask.CauseNone:
		c.drop(cause)
	default:
		w.swarm.react(c, text)
	}
}

func (w *sockets) ended(*client) {}

func (w *sockets) leave(c *client) {
	if c.underWay() == 1 {
		w.goodbye(c)
	}
}

// goodbye begins the closing handshake (RFC 6455 section 7.1.2).
func (w *sockets) goodbye(c *client) {
	k := &w.sockets[c.index]
	if k.said {
		return
	}
	k.said = true
	w.send(c, wsframe.Close, []byte{1000 >> 8, 1000 & 0xff})
}

func (w *sockets) close(c *client) {
	if k := &w.sockets[c.index]; k.doing == errandNone || k.doing == errandOpen {
		c.conn.Close()
		return
	}
	c.begin()
	w.goodbye(c)
}

func (w *sockets) closed(c *client) bool {
	k := &w.sockets[c.index]
	w.swarm.giveBack(k.message)
	*k = socket{}
	return false
}
