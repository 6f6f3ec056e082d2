package erldist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Term is an Erlang term: an Atom, Int, Tuple, List, Binary or Opaque.
type Term interface{ term() }

// Atom is an atom.
type Atom string

// Int is a small integer.
type Int int64

// Tuple is a tuple.
type Tuple []Term

// List is a proper list, or a string, which Erlang takes for a list of characters.
type List []Term

// Binary is a binary.
type Binary string

// Opaque is a term of which nothing is known but its kind: "pid", "port", "reference" or "float".
type Opaque string

func (Atom) term()   {}
func (Int) term()    {}
func (Tuple) term()  {}
func (List) term()   {}
func (Binary) term() {}
func (Opaque) term() {}
func (pid) term()    {}

// pid is this side's own; it is only written.
type pid struct {
	node                 Atom
	id, serial, creation uint32
}

func (t Tuple) String() string  { return "{" + join(t) + "}" }
func (l List) String() string   { return "[" + join(l) + "]" }
func (o Opaque) String() string { return "<" + string(o) + ">" }

func join(terms []Term) string {
	parts := make([]string, len(terms))
	for i, t := range terms {
		parts[i] = fmt.Sprint(t)
	}
	return strings.Join(parts, ",")
}

// Tags of the external term format.
const (
	tagVersion      = 131
	tagNewFloat     = 70
	tagNewPid       = 88
	tagNewPort      = 89
	tagNewReference = 90
	tagSmallInt     = 97
	tagInt          = 98
	tagOldAtom      = 100
	tagSmallTuple   = 104
	tagLargeTuple   = 105
	tagNil          = 106
	tagString       = 107
	tagList         = 108
	tagBinary       = 109
	tagSmallOldAtom = 115
	tagAtom         = 118
	tagSmallAtom    = 119
	tagV4Port       = 120
)

// maxDepth is how deep terms may be nested.
const maxDepth = 64

// AppendTerm appends a term in the external format, with its version.
func AppendTerm(dst []byte, t Term) ([]byte, error) { return appendTerm(append(dst, tagVersion), t) }

func appendTerm(dst []byte, t Term) ([]byte, error) {
	var err error
	switch t := t.(type) {
	case Atom:
		if len(t) > maxName {
			return dst, fmt.Errorf("the atom %.20q… is too long", string(t))
		}
		return append(append(dst, tagSmallAtom, byte(len(t))), t...), nil
	case Int:
		if t < math.MinInt32 || t > math.MaxInt32 {
			return dst, fmt.Errorf("%d is too large", t)
		}
		return binary.BigEndian.AppendUint32(append(dst, tagInt), uint32(t)), nil
	case Binary:
		return append(binary.BigEndian.AppendUint32(append(dst, tagBinary), uint32(len(t))), t...), nil
	case Tuple:
		if len(t) > math.MaxUint8 {
			return dst, fmt.Errorf("a tuple of %d elements", len(t))
		}
		dst = append(dst, tagSmallTuple, byte(len(t)))
		for _, element := range t {
			if dst, err = appendTerm(dst, element); err != nil {
				return dst, err
			}
		}
		return dst, nil
	case List:
		if len(t) > 0 {
			dst = binary.BigEndian.AppendUint32(append(dst, tagList), uint32(len(t)))
		}
		for _, element := range t {
			if dst, err = appendTerm(dst, element); err != nil {
				return dst, err
			}
		}
		return append(dst, tagNil), nil
	case pid:
		if dst, err = appendTerm(append(dst, tagNewPid), t.node); err != nil {
			return dst, err
		}
		dst = binary.BigEndian.AppendUint32(dst, t.id)
		dst = binary.BigEndian.AppendUint32(dst, t.serial)
		return binary.BigEndian.AppendUint32(dst, t.creation), nil
	}
	return dst, fmt.Errorf("cannot send a %T", t)
}

// ReadTerm reads a term in the external format and returns what comes after it.
func ReadTerm(text []byte) (t Term, rest []byte, err error) {
	r := reader{rest: text}
	if r.byte() != tagVersion {
		return nil, nil, errors.New("not an Erlang term")
	}
	t, err = r.term(maxDepth)
	if err == nil && r.short {
		err = errShort
	}
	return t, r.rest, err
}

// reader takes bytes from the front. Beyond the end there are zeros.
type reader struct {
	rest  []byte
	short bool // the end was passed
}

var errShort = errors.New("an Erlang term ends too early")

func (r *reader) bytes(n int) []byte {
	if n > len(r.rest) {
		r.rest, r.short = nil, true
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0 // no tag
}

// number reads an unsigned number of that many bytes.
func (r *reader) number(size int) (n int) {
	for _, b := range r.bytes(size) {
		n = n<<8 | int(b)
	}
	return n
}

func (r *reader) term(depth int) (Term, error) {
	if depth == 0 {
		return nil, errors.New("an Erlang term is nested too deep")
	}
	switch tag := r.byte(); tag {
	case tagSmallInt:
		return Int(r.byte()), nil
	case tagInt:
		return Int(int32(uint32(r.number(4)))), nil //nolint:gosec // two's complement
	case tagSmallAtom, tagSmallOldAtom:
		return r.text(1, func(b []byte) Term { return Atom(b) })
	case tagAtom, tagOldAtom:
		return r.text(2, func(b []byte) Term { return Atom(b) })
	case tagBinary:
		return r.text(4, func(b []byte) Term { return Binary(b) })
	case tagString:
		return r.text(2, func(b []byte) Term {
			list := make(List, len(b))
			for i, c := range b {
				list[i] = Int(c)
			}
			return list
		})
	case tagSmallTuple:
		elements, err := r.elements(r.number(1), depth)
		return Tuple(elements), err
	case tagLargeTuple:
		elements, err := r.elements(r.number(4), depth)
		return Tuple(elements), err
	case tagNil:
		return List{}, nil
	case tagList:
		elements, err := r.elements(r.number(4), depth)
		if err != nil {
			return nil, err
		}
		tail, err := r.term(depth - 1)
		if end, ok := tail.(List); err == nil && (!ok || len(end) > 0) {
			err = errors.New("an Erlang list without an end")
		}
		return List(elements), err
	default:
		return r.opaque(tag, depth)
	}
}

// opaque skips a term whose value nobody asks for.
func (r *reader) opaque(tag byte, depth int) (Term, error) {
	var kind string
	var size int
	named := true
	switch tag {
	case tagNewFloat:
		kind, size, named = "float", 8, false
	case tagNewPid:
		kind, size = "pid", 12
	case tagNewPort:
		kind, size = "port", 8
	case tagV4Port:
		kind, size = "port", 12
	case tagNewReference:
		kind, size = "reference", 4+4*r.number(2)
	default:
		return nil, fmt.Errorf("an Erlang term with the unknown tag %d", tag)
	}
	if named {
		if _, err := r.term(depth - 1); err != nil {
			return nil, err
		}
	}
	r.bytes(size)
	return Opaque(kind), nil
}

// text reads a length of size bytes and that many bytes.
func (r *reader) text(size int, make func([]byte) Term) (Term, error) {
	return make(r.bytes(r.number(size))), nil
}

func (r *reader) elements(n, depth int) ([]Term, error) {
	if n > len(r.rest) { // each takes a byte at least
		return nil, errShort
	}
	elements := make([]Term, n)
	for i := range elements {
		var err error
		if elements[i], err = r.term(depth - 1); err != nil {
			return nil, err
		}
	}
	return elements, nil
}
