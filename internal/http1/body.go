package http1

import "math"

// The bounds of what is in a chunked body beside its data, which is dropped.
const (
	maxSizeDigits    = 16
	maxLineExtension = 256     // bytes of the extensions of one chunk
	maxExtensions    = 4 << 10 // bytes of extensions in a body
	maxTrailers      = 8 << 10 // bytes of the trailer section
)

// Body takes a body out of its framing as it arrives. It keeps no bytes. The zero
// value is NoBody.
type Body struct {
	framing    Framing
	state      state
	left       int64  // of the sized body or of the chunk; while a size is read, that size
	digits     uint8  // of the size
	extension  uint16 // bytes of this chunk's
	extensions uint16 // bytes of all chunks'
	trailers   uint16 // bytes of the trailer section
}

// state is what is to come in a chunked body.
type state uint8

const (
	inSize  state = iota
	sizeEnd       // white space behind the size
	inExtension
	sizeLF
	inData
	dataCR
	dataLF
	trailerStart // of a line
	trailerName
	trailerValue
	trailerLF
	lastLF
	ended
)

var (
	errSize         = &Error{400, "a chunk size is not a hexadecimal number"}
	errSizeOverflow = &Error{400, "a chunk size is too large"}
	errExtension    = &Error{400, "a chunk extension has a control character"}
	errExtensions   = &Error{400, "the chunk extensions are too long"}
	errChunkEnd     = &Error{400, "a chunk or its size does not end in CRLF"}
	errTrailerLine  = &Error{400, "a line of the trailer section is malformed"}
	errTrailers     = &Error{431, "the trailer section is longer than 8 KiB"}
	errBodyCut      = &Error{400, "the body ends before its end"}
)

// Reset prepares for a body. length counts for Sized only.
func (b *Body) Reset(f Framing, length int64) {
	*b = Body{framing: f}
	if f == Sized {
		b.left = length
	}
}

// IsChunked reports whether the body comes in chunks.
func (b *Body) IsChunked() bool { return b.framing == Chunked }

// Next reads from the start of p: data is what is payload, n how many bytes were
// used for it and for the framing around it. Call it with the rest, and with what
// comes, until Done. It uses all of p unless a chunk ends in it, the body does, or
// it is malformed. err is an *Error; the body cannot be read on then.
func (b *Body) Next(p []byte) (data []byte, n int, err error) {
	switch b.framing {
	case NoBody:
		return nil, 0, nil
	case Sized:
		n = int(min(int64(len(p)), b.left))
		b.left -= int64(n)
		return p[:n], n, nil
	case UntilClose:
		return p, len(p), nil
	}
	for n < len(p) && b.state != ended {
		if b.state == inData {
			if data != nil {
				break // data of one chunk at a time: it is one piece of p
			}
			size := int(min(int64(len(p)-n), b.left))
			data = p[n : n+size]
			n += size
			if b.left -= int64(size); b.left == 0 {
				b.state = dataCR
			}
			continue
		}
		if e := b.step(p[n]); e != nil {
			if data != nil {
				break // first the data, next the error
			}
			return nil, n, e
		}
		n++
	}
	return data, n, nil
}

// Done reports whether the body has ended. One that goes on UntilClose never has.
func (b *Body) Done() bool {
	switch b.framing {
	case NoBody:
		return true
	case Sized:
		return b.left == 0
	case Chunked:
		return b.state == ended
	default:
		return false
	}
}

// End says what the end of the stream means: nil if the body is whole.
func (b *Body) End() error {
	if b.framing == UntilClose || b.Done() {
		return nil
	}
	return errBodyCut
}

// step reads one byte of a chunked body that is not data. If it fails it has
// changed nothing.
func (b *Body) step(c byte) *Error {
	switch b.state {
	case inSize, sizeEnd, inExtension, sizeLF:
		return b.sizeLine(c)
	case dataCR:
		if c != '\r' {
			return errChunkEnd
		}
		b.state = dataLF
	case dataLF:
		if c != '\n' {
			return errChunkEnd
		}
		b.state, b.digits, b.extension = inSize, 0, 0
	default:
		return b.trailerLine(c)
	}
	return nil
}

// sizeLine reads
//
//	chunk-size *WSP [ ";" extension ] CRLF
//
// White space before the size is refused, as is something else than an extension behind it.
func (b *Body) sizeLine(c byte) *Error {
	digit := unhex(c)
	switch {
	case b.state == sizeLF:
		switch {
		case c != '\n':
			return errChunkEnd
		case b.left == 0:
			b.state = trailerStart
		default:
			b.state = inData
		}
	case b.state == inSize && digit < 16:
		if b.digits == maxSizeDigits || b.left > math.MaxInt64>>4 {
			return errSizeOverflow
		}
		b.left = b.left<<4 | int64(digit)
		b.digits++
	case b.state == inSize && b.digits == 0:
		return errSize
	case c == '\r':
		b.state = sizeLF
	case b.state == inSize && (c == ' ' || c == '\t'), b.state == sizeEnd && (c == ' ' || c == '\t'):
		if err := b.countExtension(); err != nil {
			return err
		}
		b.state = sizeEnd
	case (b.state == inSize || b.state == sizeEnd) && c != ';':
		return errSize
	case class[c]&inValue == 0:
		return errExtension
	default:
		if err := b.countExtension(); err != nil {
			return err
		}
		b.state = inExtension
	}
	return nil
}

// countExtension counts a byte between the size of a chunk and the end of its line.
func (b *Body) countExtension() *Error {
	if b.extension == maxLineExtension || b.extensions == maxExtensions {
		return errExtensions
	}
	b.extension++
	b.extensions++
	return nil
}

// trailerLine reads field lines and the empty line behind them.
func (b *Body) trailerLine(c byte) *Error {
	if b.trailers == maxTrailers {
		return errTrailers
	}
	next := b.state
	switch {
	case b.state == trailerStart && c == '\r':
		next = lastLF
	case b.state == lastLF && c == '\n':
		next = ended
	case b.state == trailerLF && c == '\n':
		next = trailerStart
	case b.state == trailerStart && class[c]&inToken != 0:
		next = trailerName
	case b.state == trailerName && c == ':':
		next = trailerValue
	case b.state == trailerValue && c == '\r':
		next = trailerLF
	case b.state == trailerName && class[c]&inToken != 0:
	case b.state == trailerValue && class[c]&inValue != 0:
	default:
		return errTrailerLine
	}
	b.state = next
	b.trailers++
	return nil
}

// unhex is the value of a hexadecimal digit, and 16 or more of anything else.
func unhex(c byte) uint8 {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	default:
		return 255
	}
}

// LastChunk ends a chunked body that has no trailers.
const LastChunk = "0\r\n\r\n"

// AppendChunk appends data as one chunk; nothing if there is none, for an empty
// chunk is the last.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkSize(dst, len(data))
	dst = append(dst, data...)
	return append(dst, "\r\n"...)
}

// AppendChunkSize appends the line that begins a chunk of so many bytes, at least
// one. They and a CRLF must follow.
func AppendChunkSize(dst []byte, size int) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for size>>shift > 15 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		dst = append(dst, digits[size>>shift&15])
	}
	return append(dst, "\r\n"...)
}
