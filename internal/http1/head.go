package http1

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
)

// Head is what requests and responses have in common. Do not copy it: Fields is
// part of it.
type Head struct {
	Minor     int     // of the version: 0 or 1
	Fields    []Field // in the order received
	Body      Framing
	Length    int64  // of a Sized body
	KeepAlive bool   // the sender keeps the connection open after this message
	Upgrade   []byte // the value of Upgrade, if Connection names it

	bare    bool // lines end in LF, without CR
	store   [MaxFields]Field
	known   [MaxFields]name
	first   [len(names)]uint8 // 1 + index of the first field of that name
	hops    [2]uint64         // bit i: Connection names field i
	options uint8             // of Connection
}

// Connection options.
const (
	optClose = 1 << iota
	optKeepAlive
	optUpgrade
)

// maxOptions bounds the elements of the Connection fields of a message, each of
// which is compared with the name of every field.
const maxOptions = 32

var (
	errHeadTooLong   = &Error{431, "the head is longer than 32 KiB"}
	errTooManyFields = &Error{431, "the head has more than 100 fields"}
	errBareLF        = &Error{400, "lines of the head end in a bare LF and in CRLF"}
	errFolded        = &Error{400, "a line of the head begins with white space"}
	errName          = &Error{400, "a field name is not a token followed by a colon"}
	errImitation     = &Error{400, "a field name imitates another one with underscores"}
	errValue         = &Error{400, "a field value has a control character"}
	errRepeated      = &Error{400, "a field that may come once came twice"}
	errLength        = &Error{400, "Content-Length is not a plain decimal number"}
	errOptions       = &Error{400, "Connection names more than 32 options"}
	errDrops         = &Error{400, "Connection names a field that is not its own"}
	errTrailer       = &Error{400, "Trailer announces what may not come in a trailer section"}
	errLengths       = &Error{400, "Content-Length and Transfer-Encoding contradict each other"}
	errOldChunks     = &Error{400, "HTTP/1.0 has no Transfer-Encoding"}
	errCodings       = &Error{400, "Transfer-Encoding is malformed or does not end in chunked"}
	errUnknownCoding = &Error{501, "the transfer coding is not supported"}
)

// Get returns the value of the first field of that name, given in lower case, and
// nil if there is none.
func (h *Head) Get(name string) []byte {
	if name == "" {
		return nil
	}
	if n := known(name); n != other {
		if i := h.first[n]; i != 0 {
			return h.Fields[i-1].Value
		}
		return nil
	}
	for i := range h.Fields {
		if h.known[i] == other && EqualFold(h.Fields[i].Name, name) {
			return h.Fields[i].Value
		}
	}
	return nil
}

// Repeated reports whether there is more than one field of that name, which is a well-known one in lower case.
func (h *Head) Repeated(name string) bool {
	n := known(name)
	i := int(h.first[n])
	return i > 0 && slices.Contains(h.known[i:len(h.Fields)], n)
}

// Hop reports whether field i concerns only the connection it came on and is not
// forwarded (RFC 9110 section 7.6.1). Transfer-Encoding is one of these, and is to
// be written anew. Content-Length and Host are not.
func (h *Head) Hop(i int) bool {
	return h.known[i].is(hop) || h.hops[i/64]>>(i%64)&1 != 0
}

// Claim reports whether field i says where the message came from, of which nothing
// is to be believed unless the sender is trusted.
func (h *Head) Claim(i int) bool { return h.known[i].is(claim) }

// Stamp reports whether field i is a claim that a gateway writes anew, whoever has
// sent it.
func (h *Head) Stamp(i int) bool { return h.known[i].is(stamp) }

func (h *Head) drop(i int) { h.hops[i/64] |= 1 << (i % 64) }

func (h *Head) reset() {
	h.Minor, h.Fields, h.Body, h.Length, h.KeepAlive, h.Upgrade = 0, h.store[:0], NoBody, 0, false, nil
	clear(h.first[:])
	h.hops, h.options, h.bare = [2]uint64{}, 0, false
}

// parseFields reads the field lines from p[at:] on. It returns the length of the
// head, or 0 if p ends within it.
func (h *Head) parseFields(p []byte, at int) (int, *Error) {
	for {
		line, next, err := h.nextLine(p, at)
		if next == 0 || err != nil {
			return 0, err
		}
		at = next
		if len(line) == 0 {
			return at, h.parseOptions()
		}
		if err := h.add(line); err != nil {
			return 0, err
		}
	}
}

// firstLine is the line that p begins with. All others have to end as it does: to a reader who knows of
// CRLF only, a head without any has not even one line, but a bare LF among CRLFs is part of a value.
func (h *Head) firstLine(p []byte) (line []byte, next int, err *Error) {
	end := bytes.IndexByte(p, '\n')
	h.bare = end == 0 || end > 0 && p[end-1] != '\r'
	return h.nextLine(p, 0)
}

// nextLine is the line of p that begins at. next is 0 if it does not end in p.
func (h *Head) nextLine(p []byte, at int) (line []byte, next int, err *Error) {
	end := bytes.IndexByte(p[at:], '\n')
	if end < 0 {
		return nil, 0, nil
	}
	line, next = p[at:at+end], at+end+1
	switch bare := end == 0 || line[end-1] != '\r'; {
	case bare != h.bare:
		return nil, 0, errBareLF
	case !bare:
		line = line[:end-1]
	}
	return line, next, nil
}

func (h *Head) add(line []byte) *Error {
	i := len(h.Fields)
	switch {
	case line[0] == ' ' || line[0] == '\t':
		return errFolded
	case i == MaxFields:
		return errTooManyFields
	}
	colon, underscore := 0, false
	for colon < len(line) && class[line[colon]]&inToken != 0 {
		underscore = underscore || line[colon] == '_'
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return errName
	}
	f := Field{Name: line[:colon], Value: trim(line[colon+1:])}
	if underscore && imitates(f.Name) {
		return errImitation
	}
	if !isValue(f.Value) {
		return errValue
	}
	n := known(f.Name)
	if n != other && h.first[n] == 0 {
		h.first[n] = uint8(i + 1)
	} else if n.is(single) {
		return errRepeated
	}
	h.known[i] = n
	h.Fields = append(h.Fields, f)
	return nil
}

// isValue reports whether v has no control character but tabs. It looks at eight
// bytes at once: a byte below 0x20 borrows from its top bit, and 0x7f is 0 after
// the exclusive or; both can only be wrong behind a byte that is really one.
func isValue(v []byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; len(v) >= 8; v = v[8:] {
		x := binary.LittleEndian.Uint64(v)
		del := x ^ 0x7f*ones
		if ((x-0x20*ones)&^x|(del-ones)&^del)&tops != 0 && span(v[:8], inValue) < 8 {
			return false
		}
	}
	return span(v, inValue) == len(v)
}

// parseOptions reads the Connection and Trailer fields.
func (h *Head) parseOptions() *Error {
	count := 0
	for i := int(h.first[connection]) - 1; i >= 0 && i < len(h.Fields); i++ {
		if h.known[i] != connection {
			continue
		}
		for list := h.Fields[i].Value; len(list) > 0; {
			var option []byte
			if option, list = element(list); len(option) == 0 {
				continue
			}
			if count++; count > maxOptions {
				return errOptions
			}
			if span(option, inToken) < len(option) {
				continue // it names nothing
			}
			if err := h.option(option); err != nil {
				return err
			}
		}
	}
	if h.options&optUpgrade != 0 && h.Minor > 0 {
		h.Upgrade = h.Get("upgrade")
	}
	h.KeepAlive = h.options&optClose == 0 && (h.Minor > 0 || h.options&optKeepAlive != 0)
	return h.parseTrailer()
}

func (h *Head) option(option []byte) *Error {
	switch n := known(option); {
	case n.is(endToEnd):
		return errDrops
	case n == upgrade:
		h.options |= optUpgrade
	case EqualFold(option, "close"):
		h.options |= optClose
	case EqualFold(option, "keep-alive"):
		h.options |= optKeepAlive
	case n == other:
		for i := range h.Fields {
			if h.known[i] == other && foldBytes(h.Fields[i].Name, option) {
				h.drop(i)
			}
		}
	}
	return nil
}

// parseTrailer checks the announcement of a trailer section, which is dropped. A
// sender that announces framing fields there is up to something.
func (h *Head) parseTrailer() *Error {
	for i := int(h.first[trailer]) - 1; i >= 0 && i < len(h.Fields); i++ {
		if h.known[i] != trailer {
			continue
		}
		for list := h.Fields[i].Value; len(list) > 0; {
			var field []byte
			if field, list = element(list); len(field) == 0 {
				continue
			}
			if n := known(field); n == contentLength || n == transferEncoding || n == trailer {
				return errTrailer
			}
		}
	}
	return nil
}

// parseLengths sets the framing that the fields ask for, NoBody if they say
// nothing.
func (h *Head) parseLengths() *Error {
	size := h.first[contentLength]
	if coding := h.first[transferEncoding]; coding != 0 {
		switch {
		case size != 0:
			return errLengths
		case h.Minor == 0:
			return errOldChunks
		}
		h.Body = Chunked
		return parseCodings(h.Fields[coding-1].Value)
	}
	if size != 0 {
		f := &h.Fields[size-1]
		for len(f.Value) > 1 && f.Value[0] == '0' {
			f.Value = f.Value[1:] // some take what follows for octal
		}
		n, ok := parseLength(f.Value)
		if !ok {
			return errLength
		}
		h.Body, h.Length = Sized, n
	}
	return nil
}

// parseLength reads a Content-Length without leading zeros.
func parseLength(v []byte) (n int64, ok bool) {
	if len(v) == 0 {
		return 0, false
	}
	for _, c := range v {
		digit := int64(c) - '0'
		if digit < 0 || digit > 9 || n > (math.MaxInt64-digit)/10 {
			return 0, false
		}
		n = 10*n + digit
	}
	return n, true
}

// parseCodings allows chunked alone. A list whose framing is clear is told that
// its codings are not supported.
func parseCodings(list []byte) *Error {
	if EqualFold(list, "chunked") {
		return nil
	}
	final, unknown := false, false
	for more := true; more; {
		var coding []byte
		coding, list = element(list)
		more = list != nil
		if final || len(coding) == 0 || span(coding, inToken) < len(coding) {
			return errCodings
		}
		final = EqualFold(coding, "chunked")
		unknown = unknown || !final
	}
	if unknown {
		return errUnknownCoding
	}
	return errCodings
}
