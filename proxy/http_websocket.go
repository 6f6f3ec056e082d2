package proxy

import (
	"encoding/binary"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// frameScanner counts the messages in a stream of WebSocket frames that arrives in arbitrary pieces
// (RFC 6455 section 5.2). It keeps no payload. The zero value is ready.
//
//	┌─────────────────┬──────────────┬───────────────────┬──────────┬─────────┐
//	│ FIN RSV opcode  │ MASK length  │ 0, 2 or 8 bytes   │ 0 or 4   │ payload │
//	└─────────────────┴──────────────┴───────────────────┴──────────┴─────────┘
//
// A message ends with the payload of a data frame that has FIN, and may be a batch. Control frames are none, and
// may lie between the frames of one. A payload that an extension has changed, and all that follows what no server
// may accept, in a way that makes it unclear where the frame ends or what it is, counts by its length.
type frameScanner struct {
	left    uint64 // bytes of payload to come
	message uint64 // bytes of payload that the message has by now, announced ones included
	head    [10]byte
	have    uint8 // bytes of head
	skip    uint8 // bytes of the mask to come
	inside  bool  // in a frame, behind its length
	last    bool  // the frame ends a message
	control bool  // it is a control frame
	lost    bool  // the stream is not looked at any more
	closing bool  // a Close frame has begun: nothing may follow it

	// Of a client's stream.
	mask    [4]byte // turned to the next byte of the payload
	text    mcp.Scanner
	counted uint32 // messages of the text, or of what counts by its length, that were told
	dues    uint32 // frames that are no message but cost the node as much
	extras  uint32 // what the length of messages counts as besides
}

// tunnelFrames are those of both directions of a tunnel.
type tunnelFrames struct{ asked, said frameScanner }

const (
	frameFin     = 0x80
	frameRSV     = 0x70
	frameOpcode  = 0x0f
	frameControl = 0x08 // this bit of the opcode
	frameClose   = 0x08 // the opcode
	frameMasked  = 0x80
)

// shortFragment is the payload of a frame in the midst of a message, in bytes, below which it is due as a message is.
const shortFragment = 64

// next reads p up to the end of the first message that ends in it, or some messages of a batch. messages is how
// many the n bytes it has read have, one of them under way if there may be more; room is where payloads are
// unmasked, and nil if nobody wants to know what a message holds. Once the message under way is longer than limit, tooLong is
// true and what is left of p is not to be read.
func (s *frameScanner) next(p []byte, limit uint64, room *[]byte) (n, messages int, tooLong bool) {
	for n < len(p) && messages == 0 && !s.lost {
		if !s.inside {
			s.head[s.have] = p[n]
			s.have++
			n++
			if s.begin(); s.lost {
				break
			}
			if s.message > limit {
				return n, 0, true
			}
		} else if s.skip > 0 {
			s.mask[4-s.skip] = p[n]
			s.skip--
			n++
		} else {
			k := int(min(s.left, uint64(len(p)-n)))
			if room != nil && !s.control {
				k, messages = s.read(p[n:n+k], room)
			}
			s.left -= uint64(k)
			n += k
		}
		if s.inside && s.skip == 0 && s.left == 0 {
			s.inside, s.have = false, 0
			if s.last {
				messages += s.end()
				return n, messages, false
			}
		}
	}
	for s.lost && n < len(p) && messages == 0 {
		if room == nil {
			return len(p), 0, false
		}
		n += s.text.Text(p[n:], false)
		messages = s.more(s.text.Messages() - 1)
	}
	return n, messages, false
}

// read reads a piece of a payload.
func (s *frameScanner) read(p []byte, room *[]byte) (n, messages int) {
	if s.text.Batch() {
		p = p[:min(len(p), mcp.StepBytes)] // what is not read is unmasked again
	}
	*room = append((*room)[:0], p...)
	text := *room
	unmask(text, s.mask)
	n = s.text.Text(text, s.last && s.left == uint64(len(p)))
	m := s.mask
	for i := range m {
		s.mask[i] = m[(i+n)%4]
	}
	return n, s.more(s.text.Messages() - 1)
}

// more is how many messages of the text were not told yet.
func (s *frameScanner) more(total int) int {
	if total <= int(s.counted) {
		return 0
	}
	more := total - int(s.counted)
	s.counted = uint32(total)
	return more
}

// end ends the message: there is one, however little it holds.
func (s *frameScanner) end() (messages int) {
	messages = s.more(max(1, s.text.End()))
	s.message, s.counted = 0, 0
	return messages
}

// unmask reads a payload (RFC 6455 section 5.3), eight bytes at once.
func unmask(p []byte, mask [4]byte) {
	key := binary.LittleEndian.Uint32(mask[:])
	wide := uint64(key)<<32 | uint64(key)
	for ; len(p) >= 8; p = p[8:] {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
	}
	for i := range p {
		p[i] ^= mask[i%4]
	}
}

// between reports whether a frame can be put in.
func (s *frameScanner) between() bool { return !s.lost && !s.inside && s.have == 0 }

// begin begins a frame if its head is whole but for the mask.
func (s *frameScanner) begin() {
	if s.have < 2 {
		return
	}
	length := uint64(s.head[1] &^ frameMasked)
	switch {
	case length == 126 && s.have < 4, length == 127 && s.have < 10:
		return
	case length == 126:
		length = uint64(s.head[2])<<8 | uint64(s.head[3])
	case length == 127:
		length = 0
		for _, c := range s.head[2:] {
			length = length<<8 | uint64(c)
		}
	}
	opcode, fin := s.head[0]&frameOpcode, s.head[0]&frameFin != 0
	control := opcode&frameControl != 0
	switch {
	case length>>63 != 0, control && (length > 125 || !fin), opcode > 2 && opcode < 8, opcode > 10:
		s.lost, s.counted = true, 0
		s.text.End()
		s.text.Unread()
		return
	}
	s.inside, s.left, s.control = true, length, control
	s.mask = [4]byte{}
	s.closing = s.closing || opcode == frameClose
	s.skip = s.head[1] & frameMasked >> 5 // 4 or 0
	s.last = fin && !control
	if !control {
		s.extras += uint32((s.message+length)/extraLength - s.message/extraLength)
		s.message += length
	}
	if s.head[0]&frameRSV != 0 && !control {
		s.text.Unread()
	}
	if control || !fin && length < shortFragment {
		s.dues++
	}
}

// takeDues returns how many messages are due besides those that were told, of which at most so many for the length of one, and
// forgets them.
func (s *frameScanner) takeDues(mostExtra int) (messages int) {
	messages = int(s.dues) + min(int(s.extras), mostExtra)
	s.dues, s.extras = 0, 0
	return messages
}

// tunnelIn passes on what the client says after the upgrade. Its messages are counted and held to the
// source's rate: over it the client is not read until the source conforms, whatever lb.limits.action
// says, for a frame can neither be dropped nor answered without the node's knowledge.
func (x *exchange) tunnelIn(p []byte) (consumed int) {
	c, n, w := x.client, x.node, x.client.w
	if n == nil {
		return len(p)
	}
	now := w.loop.Now()
	limit := w.limits.message
	limited := x.limited()
	messages := 0
	var wait time.Duration
	for consumed < len(p) && wait == 0 {
		k, more, tooLong := x.frames.asked.next(p[consumed:], uint64(w.maxMessage), &w.scratch)
		consumed += k
		if tooLong {
			x.cutOff(board.ReasonTooLarge)
			return len(p)
		}
		messages += more
		if due := more + x.frames.asked.takeDues(w.limits.mostExtra); due > 0 && limited {
			wait = board.ChargeAnyway(w.board.Sources().MessageRate(x.source), now, limit.interval, limit.burst, int64(due))
		}
	}
	w.cell.Messages.Add(uint64(messages))
	x.backend.flow.Messages.Add(uint64(messages))
	x.backend.flow.BytesIn.Add(uint64(consumed))
	x.access.received(consumed)
	x.port.asked(now)
	n.conn.Send(p[:consumed])
	if wait > 0 {
		w.cell.Throttles.Add(1)
		w.cell.ThrottledNs.Add(uint64(wait))
		x.resumeAt = now + int64(wait)
	}
	if wait > 0 || n.conn.Pending() > 0 {
		c.conn.Pause()
	}
	x.tunnelPatience()
	return consumed
}

// tunnelPatience begins anew, as something has passed through the tunnel. While the client is
// throttled it is not idle.
func (x *exchange) tunnelPatience() {
	c, w := x.client, x.client.w
	if x.resumeAt != 0 {
		c.within(max(time.Duration(x.resumeAt-w.loop.Now()), time.Nanosecond))
		return
	}
	x.alive = w.loop.Now()
	w.crowd.Use(c.source, &c.seat, x.alive)
	limit, _ := x.limit()
	c.within(limit)
}

// closing reports whether the tunnel comes to its end by itself.
func (x *exchange) closing() bool {
	return x.nodeEnded || x.frames.asked.closing || x.frames.said.closing
}

// tunnelEnded passes the end of the node's stream on: both connections are closed once the client has
// ended its own too.
func (x *exchange) tunnelEnded() {
	c := x.client
	if !c.ended && !x.closing() {
		c.w.countCut(x.access, board.ReasonNodeLost)
	}
	x.nodeEnded = true
	c.conn.CloseWrite()
	x.tunnelPatience()
}

// readTunnel reads the client on, unless it has to wait for its rate or its node.
func (x *exchange) readTunnel() {
	if x.resumeAt == 0 && x.node.conn.Pending() == 0 {
		x.client.conn.Resume()
	}
}

// tunnelExpired ends a tunnel in which nothing happens, or a throttle.
func (x *exchange) tunnelExpired() {
	if x.resumeAt == 0 {
		x.silent()
		return
	}
	x.resumeAt = 0
	x.readTunnel()
	x.tunnelPatience()
}
