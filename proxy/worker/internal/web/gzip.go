package web

import (
	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/coding"
)

// compression is whether a response is compressed.
type compression struct {
	zips   bool // the client takes gzip
	weak   bool // it has a body with a weak tag and asks whether that is still good
	varies bool // another client may get the body in another coding
	zipped bool // the client gets it, or the head it has, compressed
}

// variesByCoding reports whether the body of a response, or the one of its selected representation,
// depends on Accept-Encoding: some client gets it compressed, whatever this one accepts.
func (x *exchange) variesByCoding(r *http1.Response) bool {
	if !x.client.w.Spec.HTTP.Gzip || x.events || r.Status == 204 {
		return false
	}
	return x.revalidated(r) || coding.Compressible(r)
}

// revalidated reports whether a client is told that the compressed body it has is still good: it has
// shown a weak tag, and the node's is strong.
func (x *exchange) revalidated(r *http1.Response) bool {
	return x.weak && r.Status == 304 && coding.IsStrong(r.Get("etag"))
}

// getsZipped reports whether the client gets a body that varies compressed. rest is what has come of
// it: a short one that is all there is stays as it is. One that is still under way is compressed at
// once, for it would have to be held back until its length is known.
func (x *exchange) getsZipped(r *http1.Response, rest []byte) bool {
	switch {
	case !x.zips, x.old, r.Status == 206, r.Status == 304, r.Get("content-range") != nil:
		return false
	case x.verb == verbHead:
		return true // the same head as for GET (RFC 9110 section 9.3.2)
	}
	return r.Body == http1.Sized || r.Body != http1.NoBody && !coding.EndsShort(x.out, rest)
}

// appendVariantField appends a field of a response that varies. told says whether the client has been
// told by now that another Accept-Encoding may get another body (RFC 9110 section 12.5.5).
func (x *exchange) appendVariantField(dst []byte, f *http1.Field, weak bool, told *bool) []byte {
	switch {
	case x.zipped && (http1.EqualFold(f.Name, "content-length") || http1.EqualFold(f.Name, "accept-ranges")):
		return dst
	case weak && http1.EqualFold(f.Name, "etag") && coding.IsStrong(f.Value):
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
