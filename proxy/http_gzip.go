package proxy

import (
	"bytes"

	"github.com/klauspost/compress/gzip"

	"github.com/erlmcp/erlmcp/proxy/internal/http1"
)

const (
	// minZipped is the shortest body worth compressing.
	minZipped = 1 << 10
	// maxZippers bounds the responses a worker compresses at a time; others pass as they are. A
	// compressor takes some hundred kilobytes for as long as its body is under way.
	maxZippers = 64
	// maxSpareZippers is how many are kept for the next response.
	maxSpareZippers = 4
	// maxKeptOutput bounds the room for compressed bytes that a worker keeps.
	maxKeptOutput = 256 << 10
)

// zipper compresses one body.
type zipper struct {
	gzip  *gzip.Writer
	next  *zipper // among the spare ones
	dirty bool    // has taken something since it was flushed
}

// zippers are those of a worker.
type zippers struct {
	out    output
	spare  *zipper
	spares int
	used   int
}

// output takes what a compressor gives; it is empty between two calls.
type output struct{ data []byte }

func (o *output) Write(p []byte) (int, error) {
	o.data = append(o.data, p...)
	return len(p), nil
}

// take returns a compressor, or nil if too many are in use.
func (zs *zippers) take() *zipper {
	if zs.used == maxZippers {
		return nil
	}
	zs.used++
	z := zs.spare
	if z == nil {
		// The fastest level: what a worker spends here, all its clients wait for.
		g, err := gzip.NewWriterLevel(&zs.out, gzip.BestSpeed)
		if err != nil {
			zs.used--
			return nil
		}
		return &zipper{gzip: g}
	}
	zs.spare, z.next = z.next, nil
	zs.spares--
	z.gzip.Reset(&zs.out)
	return z
}

// put takes a compressor back. What it has given of a body that broke off is nobody's.
func (zs *zippers) put(z *zipper) {
	zs.used--
	zs.out.data = zs.out.data[:0]
	if zs.spares < maxSpareZippers {
		z.dirty = false
		z.next, zs.spare = zs.spare, z
		zs.spares++
	}
}

// write compresses a piece. The output takes everything: there is no error to look at.
func (z *zipper) write(data []byte) {
	if len(data) > 0 {
		_, _ = z.gzip.Write(data)
		z.dirty = true
	}
}

// flush returns all that belongs to what was written, and the end of the body if this is it. Valid
// until the next write of whichever compressor.
func (zs *zippers) flush(z *zipper, last bool) []byte {
	switch {
	case last:
		_ = z.gzip.Close()
	case z.dirty:
		_ = z.gzip.Flush()
	}
	z.dirty = false
	data := zs.out.data
	if zs.out.data = data[:0]; cap(data) > maxKeptOutput {
		zs.out.data = nil
	}
	return data
}

// variesByCoding reports whether the body of a response, or the one of its selected representation,
// depends on Accept-Encoding: some client gets it compressed, whatever this one accepts. What never is
// compressed does not vary: what is not text or is encoded already, must not be transformed, has a
// digest, or says that it is short.
func (x *exchange) variesByCoding(r *http1.Response) bool {
	if !x.client.w.spec.HTTP.Gzip || x.events || r.Status == 204 {
		return false
	}
	if x.revalidated(r) {
		return true
	}
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

// revalidated reports whether a client is told that the compressed body it has is still good: it has
// shown a weak tag, and the node's is strong.
func (x *exchange) revalidated(r *http1.Response) bool {
	return x.weak && r.Status == 304 && isStrong(r.Get("etag"))
}

func isStrong(tag []byte) bool { return len(tag) > 0 && tag[0] == '"' }

// saysShort reports whether the body is announced to be not worth compressing. The length of what a
// HEAD asks about stands in the field only.
func saysShort(r *http1.Response) bool {
	if r.Body == http1.Sized {
		return r.Length < minZipped
	}
	length := r.Get("content-length")
	return r.Body == http1.NoBody && length != nil && (len(length) < 4 || len(length) == 4 && string(length) < "1024")
}

// getsZipped reports whether the client gets a body that varies compressed. rest is what has come of
// it: a short one that is all there is stays as it is. One that is still under way is compressed at
// once, for it would have to be held back until its length is known.
func (x *exchange) getsZipped(r *http1.Response, rest []byte) bool {
	switch {
	case !x.zips, x.old, r.Status == 206, r.Status == 304, r.Get("content-range") != nil:
		return false
	case x.bare:
		return true // the same head as for GET (RFC 9110 section 9.3.2)
	}
	return r.Body == http1.Sized || r.Body != http1.NoBody && !endsShort(x.out, rest)
}

// endsShort reports whether a body that begins with p ends in it, before it is worth compressing.
func endsShort(body http1.Body, p []byte) bool {
	size := 0
	for len(p) > 0 && size < minZipped && !body.Done() {
		data, n, err := body.Next(p)
		if err != nil {
			return true
		}
		size += len(data)
		p = p[n:]
	}
	return body.Done() && size < minZipped
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

// saysVary reports whether a response tells by itself that Accept-Encoding matters.
func saysVary(r *http1.Response) bool {
	for i := range r.Fields {
		if f := &r.Fields[i]; http1.EqualFold(f.Name, "vary") && !r.Hop(i) && (http1.HasToken(f.Value, "accept-encoding") || http1.HasToken(f.Value, "*")) {
			return true
		}
	}
	return false
}

// appendVariantField appends a field of a response that varies. told says whether the client has been
// told by now that another Accept-Encoding may get another body (RFC 9110 section 12.5.5).
func (x *exchange) appendVariantField(dst []byte, f *http1.Field, weak bool, told *bool) []byte {
	switch {
	case x.zipped && (http1.EqualFold(f.Name, "content-length") || http1.EqualFold(f.Name, "accept-ranges")):
		return dst
	case weak && http1.EqualFold(f.Name, "etag") && isStrong(f.Value):
		// The tag of other bytes: it stands for the same content only.
		dst = append(append(dst, f.Name...), ": W/"...)
		return append(append(dst, f.Value...), "\r\n"...)
	case http1.EqualFold(f.Name, "vary") && !*told:
		*told = true
		dst = append(append(dst, f.Name...), ": "...)
		if len(f.Value) > 0 {
			dst = append(append(dst, f.Value...), ", "...)
		}
		return append(dst, "Accept-Encoding\r\n"...)
	}
	return http1.AppendField(dst, f.Name, f.Value)
}

// showsWeakTag reports whether a request asks if a body with a weak tag is still good.
func showsWeakTag(r *http1.Request) bool {
	return bytes.Contains(r.Get("if-none-match"), []byte("W/"))
}

// acceptsGzip reports whether a request's client takes gzip, and does not rather have the body as it
// is (RFC 9110 section 12.5.3; RFC 9111 section 5.2.1.6).
func acceptsGzip(r *http1.Request) bool {
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
