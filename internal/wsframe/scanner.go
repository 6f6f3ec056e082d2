// Package wsframe reads the frames of WebSockets (RFC 6455 section 5) as they pass, to count the messages in them, and
// is what a client needs to take and send them: functions over bytes, without sockets and without allocation.
package wsframe

import (
	"encoding/binary"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// Scanner counts the messages in a stream of WebSocket frames that arrives in arbitrary pieces
// (RFC 6455 section 5.2). It keeps no payload. The zero value is ready.
//
//	┌─────────────────┬──────────────┬───────────────────┬──────────┬─────────┐
//	│ FIN RSV opcode  │ MASK length  │ 0, 2 or 8 bytes   │ 0 or 4   │ payload │
//	└─────────────────┴──────────────┴───────────────────┴──────────┴─────────┘
//
// A message ends with the payload of a data frame that has FIN, and may be a batch. Control frames are none, and
// may lie between the frames of one. A payload that an extension has changed, and all that follows what no server
// may accept, in a way that makes it unclear where the frame ends or what it is, counts by its length.
type Scanner struct {
	left    uint64 // bytes of payload to come
	message uint64 // bytes of payload that the message has by now, announced ones included
	told    uint64 // of these, what Growth has told
	head    [10]byte
	have    uint8 // bytes of head
	skip    uint8 // bytes of the mask to come
	inside  bool  // in a frame, behind its length
	last    bool  // the frame ends a message
	control bool  // it is a control frame
	over    bool  // the message has ended
	lost    bool  // the stream is not looked at any more
	closing bool  // a Close frame has begun

	// Of a client's stream.
	mask    [4]byte // turned to the next byte of the payload
	text    mcp.Scanner
	counted uint32 // messages of the text, or of what counts by its length, that were told
	dues    uint32 // frames that are no message but cost the node as much
}

// Parts of the first two bytes of a frame.
const (
	fin        = 0x80
	rsv        = 0x70
	opcodeMask = 0x0f
	controlBit = 0x08 // of the opcode
	opClose    = 0x08 // the opcode
	masked     = 0x80
)

// shortFragment is the payload of a frame in the midst of a message, in bytes, below which it is due as a message is.
const shortFragment = 64

// Next reads p up to the end of the first message that ends in it, or some messages of a batch. messages is how
// many the n bytes it has read have, one of them under way if there may be more; room is where payloads are
// unmasked, and nil if nobody wants to know what a message holds. Once the message under way is longer than limit, tooLong is
// true and what is left of p is not to be read.
func (s *Scanner) Next(p []byte, limit uint64, room *[]byte) (n, messages int, tooLong bool) {
	for n < len(p) && messages == 0 && !s.lost {
		if !s.inside {
			s.head[s.have] = p[n]
			s.have++
			n++
			if s.begin(); s.lost {
				break
			}
			if s.message > limit && !s.over {
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
func (s *Scanner) read(p []byte, room *[]byte) (n, messages int) {
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
func (s *Scanner) more(total int) int {
	if total <= int(s.counted) {
		return 0
	}
	more := total - int(s.counted)
	s.counted = uint32(total)
	return more
}

// end ends the message: there is one, however little it holds.
func (s *Scanner) end() (messages int) {
	messages = s.more(max(1, s.text.End()))
	s.over, s.counted = true, 0
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

// Between reports whether a frame can be put in.
func (s *Scanner) Between() bool { return !s.lost && !s.inside && s.have == 0 }

// Closing reports whether a Close frame has begun (RFC 6455 section 5.5.1): nothing may follow it.
func (s *Scanner) Closing() bool { return s.closing }

// begin begins a frame if its head is whole but for the mask.
func (s *Scanner) begin() {
	if s.have < 2 {
		return
	}
	length := uint64(s.head[1] &^ masked)
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
	opcode, final := s.head[0]&opcodeMask, s.head[0]&fin != 0
	control := opcode&controlBit != 0
	switch {
	case length>>63 != 0, control && (length > 125 || !final), opcode > 2 && opcode < 8, opcode > 10:
		s.lost, s.counted = true, 0
		s.text.End()
		s.text.Unread()
		return
	}
	s.inside, s.left, s.control = true, length, control
	s.mask = [4]byte{}
	s.closing = s.closing || opcode == opClose
	s.skip = s.head[1] & masked >> 5 // 4 or 0
	s.last = final && !control
	if !control {
		if s.over {
			s.message, s.told, s.over = 0, 0, false
		}
		s.message += length
	}
	if s.head[0]&rsv != 0 && !control {
		s.text.Unread()
	}
	if control || !final && length < shortFragment {
		s.dues++
	}
}

// TakeDues returns how many frames are due, and forgets them.
func (s *Scanner) TakeDues() (frames int) {
	frames = int(s.dues)
	s.dues = 0
	return frames
}

// Growth tells how long the message that Next has read of was when this was last asked, and is now, in bytes of payload with
// those that are announced. It is to be asked after each Next.
func (s *Scanner) Growth() (before, now int64) {
	before, s.told = int64(s.told), s.message
	return before, int64(s.message)
}

// AppendClose appends the Close frame of a server (RFC 6455 section 5.5.1), which gives no reason but its status (section 7.4).
func AppendClose(dst []byte, status uint16) []byte {
	return append(dst, fin|opClose, 2, byte(status>>8), byte(status))
}
