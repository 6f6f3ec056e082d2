package coding

import (
	"bytes"

	"github.com/erlmcp/erlmcp/internal/http1"
)

// Coding is what the head of a request says of how its body can be read.
type Coding uint8

// The codings of a request.
const (
	Readable Coding = iota
	Foreign         // in a charset that may hide ASCII
	Gzipped         // by name; some servers look for themselves
	Deflated        // likewise
	Opaque          // in another content coding, or in one of these and in such a charset
)

// Of looks at the fields that say how a body is to be read (RFC 9110 sections 8.3, 8.4).
func Of(r *http1.Request) Coding {
	charset := Readable
	for i := range r.Fields {
		if f := &r.Fields[i]; len(f.Name) == len("content-type") && http1.EqualFold(f.Name, "content-type") && hidesASCII(f.Value) {
			charset = Foreign
		}
	}
	switch named := r.Get("content-encoding"); {
	case r.Repeated("content-encoding"):
		return Opaque
	case len(named) == 0, http1.EqualFold(named, "identity"):
		return charset
	case charset == Foreign:
		return Opaque
	case http1.EqualFold(named, "gzip"), http1.EqualFold(named, "x-gzip"):
		return Gzipped
	case http1.EqualFold(named, "deflate"):
		return Deflated
	}
	return Opaque
}

// hidesASCII reports whether a media type names a charset in which brackets, commas and quotation marks may be
// other bytes than in ASCII, or the other way round.
func hidesASCII(mediaType []byte) bool {
	for bytes.IndexByte(mediaType, '=') >= 0 {
		i := http1.IndexFold(mediaType, "charset")
		if i < 0 {
			return false
		}
		mediaType = mediaType[i+len("charset"):]
		name, ok := bytes.CutPrefix(bytes.TrimLeft(mediaType, " \t"), []byte("="))
		if !ok {
			return true
		}
		name = bytes.TrimLeft(name, " \t\"")
		if end := bytes.IndexAny(name, " \t\";"); end >= 0 {
			name = name[:end]
		}
		if !isASCIISuperset(name) {
			return true
		}
	}
	return false
}

func isASCIISuperset(charset []byte) bool {
	for _, whole := range []string{"utf-8", "utf8", "us-ascii", "ascii", "latin1"} {
		if http1.EqualFold(charset, whole) {
			return true
		}
	}
	for _, family := range []string{"iso-8859-", "windows-125"} {
		if len(charset) > len(family) && len(charset) <= len(family)+2 && http1.EqualFold(charset[:len(family)], family) {
			return true
		}
	}
	return false
}

// MayBeJSON reports whether a request does not say that its body is something else. What it says in a charset that
// hides ASCII is not believed.
func MayBeJSON(r *http1.Request) bool {
	t := r.Get("content-type")
	return len(t) == 0 || r.Repeated("content-type") || http1.IndexFold(t, "json") >= 0 || hidesASCII(t)
}
