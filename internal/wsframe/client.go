package wsframe

import (
	"encoding/binary"
	"errors"
)

// Opcode is what a frame is (RFC 6455 section 5.2).
type Opcode byte

// The opcodes.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = opClose
	Ping         Opcode = 0x9
	Pong         Opcode = 0xa
)

// Frame is a frame of a server, whose payload lies in what it was read from.
type Frame struct {
	Final   bool // the last of its message
	Opcode  Opcode
	Payload []byte
}

// Why a frame is none that a server may send to a client that has agreed to no extension.
var (
	ErrMasked   = errors.New("a frame of a server is masked")
	ErrReserved = errors.New("a frame has an opcode or bits that mean nothing")
	ErrControl  = errors.New("a control frame is longer than 125 bytes, or in fragments")
	ErrTooLong  = errors.New("a frame is too long")
)

// Parse reads the frame of a server at the start of p. n is its length, and 0 if it does not end in p. A frame with
// more than limit bytes of payload is refused as soon as it says so.
func Parse(p []byte, limit int) (f Frame, n int, err error) {
	if len(p) < 2 {
		return Frame{}, 0, nil
	}
	f = Frame{Final: p[0]&fin != 0, Opcode: Opcode(p[0] & opcodeMask)}
	length, at := uint64(p[1]&^masked), 2
	control := f.Opcode&controlBit != 0
	switch {
	case p[1]&masked != 0:
		return Frame{}, 0, ErrMasked
	case p[0]&rsv != 0, f.Opcode > Binary && f.Opcode < Close, f.Opcode > Pong:
		return Frame{}, 0, ErrReserved
	case control && (length > 125 || !f.Final):
		return Frame{}, 0, ErrControl
	case length == 126:
		at = 4
	case length == 127:
		at = 10
	}
	if len(p) < at {
		return Frame{}, 0, nil
	}
	switch at {
	case 4:
		length = uint64(binary.BigEndian.Uint16(p[2:]))
	case 10:
		length = binary.BigEndian.Uint64(p[2:])
	}
	if length > uint64(limit) {
		return Frame{}, 0, ErrTooLong
	}
	if uint64(len(p)-at) < length {
		return Frame{}, 0, nil
	}
	n = at + int(length)
	f.Payload = p[at:n]
	return f, n, nil
}

// AppendMasked appends a frame of a client: a whole message, or a control frame.
func AppendMasked(dst []byte, op Opcode, payload []byte, mask [4]byte) []byte {
	dst = append(dst, fin|byte(op))
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(n))
	}
	dst = append(dst, mask[:]...)
	at := len(dst)
	dst = append(dst, payload...)
	unmask(dst[at:], mask) // the other way round it is the same
	return dst
}
