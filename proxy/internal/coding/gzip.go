package coding

import (
	"bytes"

	"github.com/erlmcp/erlmcp/internal/http1"
)

// MinZipped is the shortest body worth compressing, in bytes.
const MinZipped = 1 << 10

// saysShort reports whether the body is announced to be not worth compressing. The length of what a
// HEAD asks about stands in the field only.
func saysShort(r *http1.Response) bool {
	if r.Body == http1.Sized {
		return r.Length < MinZipped
	}
	length := r.Get("content-length")
	return r.Body == http1.NoBody && length != nil && (len(length) < 4 || len(length) == 4 && string(length) < "1024")
}

// Compressible reports whether the body of a response, or the one that GET would get, may be compressed and is
// likely to become shorter: it is text, is not encoded already, may be transformed (RFC 9111 section 5.2.2.6), has no
// digest (RFC 9530) and is not said to be short.
func Compressible(r *http1.Response) bool {
	if saysShort(r) || !isCompressible(r.Get("content-type")) {
		return false
	}
	for i := range r.Fields {
		switch f := &r.Fields[i]; {
		case http1.EqualFold(f.Name, "content-encoding"):
			return false
		case http1.EqualFold(f.Name, "digest"), http1.EqualFold(f.Name, "content-digest"), http1.EqualFold(f.Name, "repr-digest"), http1.EqualFold(f.Name, "content-md5"):
			return false // it would not fit any more
		case http1.EqualFold(f.Name, "cache-control") && http1.HasToken(f.Value, "no-transform"):
			return false
		}
	}
	return true
}

// EndsShort reports whether a body that begins with p ends in it, before it is worth compressing.
func EndsShort(body http1.Body, p []byte) bool {
	size := 0
	for len(p) > 0 && size < MinZipped && !body.Done() {
		data, n, err := body.Next(p)
		if err != nil {
			return true
		}
		size += len(data)
		p = p[n:]
	}
	return body.Done() && size < MinZipped
}

// compressible are the media types of text beside text/ and those that end in +json or +xml.
var compressible = [...]string{
	"application/json", "application/javascript", "application/ecmascript", "application/xml", "application/x-javascript",
	"application/ndjson", "application/x-ndjson", "application/jsonl", "application/json-seq", "application/yaml",
	"application/x-yaml", "application/toml", "application/graphql", "application/wasm", "application/rtf",
	"image/svg", "image/bmp", "image/x-icon", "font/ttf", "font/otf",
}

// isCompressible reports whether bodies of a Content-Type are likely to become shorter. Event streams
// are not among them: each event would be flushed, and readers of streams in the middle look at them.
func isCompressible(kind []byte) bool {
	if i := bytes.IndexByte(kind, ';'); i >= 0 {
		kind = kind[:i]
	}
	kind = bytes.TrimSpace(kind)
	if len(kind) > 5 && http1.EqualFold(kind[:5], "text/") {
		return !http1.EqualFold(kind, "text/event-stream")
	}
	if len(kind) > 5 && http1.EqualFold(kind[len(kind)-5:], "+json") || len(kind) > 4 && http1.EqualFold(kind[len(kind)-4:], "+xml") {
		return true
	}
	for _, name := range compressible {
		if http1.EqualFold(kind, name) {
			return true
		}
	}
	return false
}

// SaysVary reports whether a response tells by itself that Accept-Encoding matters.
func SaysVary(r *http1.Response) bool {
	for i := range r.Fields {
		if f := &r.Fields[i]; http1.EqualFold(f.Name, "vary") && !r.Hop(i) && (http1.HasToken(f.Value, "accept-encoding") || http1.HasToken(f.Value, "*")) {
			return true
		}
	}
	return false
}

// IsStrong reports whether an entity tag stands for these very bytes (RFC 9110 section 8.8.1).
func IsStrong(tag []byte) bool { return len(tag) > 0 && tag[0] == '"' }

// ShowsWeakTag reports whether a request asks if a body with a weak tag is still good.
func ShowsWeakTag(r *http1.Request) bool {
	return bytes.Contains(r.Get("if-none-match"), []byte("W/"))
}

// AcceptsGzip reports whether a request's client takes gzip, and does not rather have the body as it
// is (RFC 9110 section 12.5.3; RFC 9111 section 5.2.1.6).
func AcceptsGzip(r *http1.Request) bool {
	zipped, star, identity := -1, -1, -1
	if r.Get("accept-encoding") == nil {
		return false
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		if http1.EqualFold(f.Name, "cache-control") && http1.HasToken(f.Value, "no-transform") {
			return false
		}
		if http1.EqualFold(f.Name, "accept-encoding") {
			for list := f.Value; len(list) > 0; {
				var coding []byte
				coding, list, _ = bytes.Cut(list, []byte(","))
				name, params, _ := bytes.Cut(coding, []byte(";"))
				switch name = bytes.TrimSpace(name); {
				case http1.EqualFold(name, "gzip"), http1.EqualFold(name, "x-gzip"):
					zipped = max(zipped, quality(params))
				case http1.EqualFold(name, "*"):
					star = max(star, quality(params))
				case http1.EqualFold(name, "identity"):
					identity = max(identity, quality(params))
				}
			}
		}
	}
	if zipped < 0 {
		zipped = star
	}
	return zipped > 0 && zipped >= identity
}

// quality is the weight in the parameters of a coding, in thousandths (RFC 9110 section 12.4.2); 0 if
// it is malformed: then nothing is done that the client may not expect.
func quality(params []byte) int {
	params = bytes.TrimSpace(params)
	if len(params) == 0 {
		return 1000
	}
	name, value, ok := bytes.Cut(params, []byte("="))
	if !ok || !http1.EqualFold(name, "q") {
		return 0
	}
	if len(value) == 0 || len(value) > 5 || value[0] != '0' && value[0] != '1' || len(value) > 1 && value[1] != '.' {
		return 0
	}
	q, unit := int(value[0]-'0')*1000, 100
	for _, c := range value[min(2, len(value)):] {
		if c < '0' || c > '9' {
			return 0
		}
		q += int(c-'0') * unit
		unit /= 10
	}
	if q > 1000 {
		return 0
	}
	return q
}
