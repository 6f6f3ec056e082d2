package web

import (
	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// maxOrigin bounds the Origin that is answered, in bytes.
const maxOrigin = 256

// originOf is the origin of the page that a request is from; nil if it is from none. Of a head that was
// not read to its end it is what has come.
func originOf(r *http1.Request) []byte {
	if origin := r.Get("origin"); len(origin) <= maxOrigin {
		return origin
	}
	return nil
}

// say sends a refusal to a page of origin, or to whom it is from none, and counts it.
func (c *client) say(r policy.Refusal, origin []byte, keep, bare bool) {
	w := c.w
	w.Cell.Refused[r.Reason].Add(1)
	w.Cell.Responses[r.Status/100].Add(1)
	var fields []byte
	if c.secure {
		fields = w.hsts
	}
	out := r.Append(w.Scratch[:0], origin, fields, keep, bare)
	w.Scratch = out[:0]
	c.conn.Send(out)
	c.logRefusal(r, len(out))
}
