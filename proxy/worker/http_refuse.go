package worker

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// refusalTo is what a client from source is told for a reason. Who is banned learns what that means, and
// whom to ask for what.
func (w *worker) refusalTo(source board.SlotID, reason board.Reason, wait time.Duration) policy.Refusal {
	r := policy.RefusalOf(reason, wait)
	if info := w.board.Sources().Info(source); reason == board.ReasonBan && info.Source.IsValid() {
		until := mono.Time(w.loop.Now() + int64(wait))
		r.Text = "banned until " + until.UTC().Format("15:04:05Z") + ": " + proxy.SourceText(info.Source) +
			" went on over the rate, or an operator has banned it; sessions and open connections are kept" +
			" (erlmcp lb ban list, erlmcp lb ban remove " + proxy.SourceText(info.Source) + ")"
	}
	return r
}

// maxOrigin bounds the Origin that is answered, in bytes.
const maxOrigin = 256

// originOf is the origin of the page that a request is from; nil if it is from none. Of a head that was
// not read to its end it is what has come.
func originOf(r requestHead) []byte {
	if origin := r.Get("origin"); len(origin) <= maxOrigin {
		return origin
	}
	return nil
}

// say sends a refusal to a page of origin, or to whom it is from none, and counts it.
func (c *httpClient) say(r policy.Refusal, origin []byte, keep, bare bool) {
	w := c.w
	w.cell.Refused[r.Reason].Add(1)
	w.cell.Responses[r.Status/100].Add(1)
	var fields []byte
	if c.secure {
		fields = w.http.hsts
	}
	out := r.Append(w.scratch[:0], origin, fields, keep, bare)
	w.scratch = out[:0]
	c.conn.Send(out)
	c.logRefusal(r, len(out))
}
