package web

import (
	"math/bits"
	"net/http"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/coding"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// A request is a message, and a body may be a batch of many (JSON-RPC 2.0 section 6). They are counted as they
// pass, for whoever may read them: what a header says of the protocol's revision binds no node.
//
//	UTF-8 and the like       counted as it is, see mcp.Scanner
//	another charset          by its length besides, unless it begins with an object
//	gzip, deflate            the beginning is decoded: a single message passes, a batch is refused
//	another content coding   refused, unless the body is said to be no JSON
//
// The last two are refused with status 415 to those whose messages are limited, for want of a way to count them
// that costs a worker less than them.

// account is what the source of a request is charged for it.
type account struct {
	batch    mcp.Scanner   // of the body
	peeked   []byte        // the beginning of an encoded body
	paid     int64         // length of a body for which it was charged
	charged  uint32        // messages, likewise
	foreign  uint32        // bytes of a body in another charset
	coding   coding.Coding // of the body
	entered  bool          // the request counts as a connection
	admitted bool          // by the limits
}

// limited reports whether messages of the source are bound by a rate.
func (x *exchange) limited() bool { return !x.exempt && !x.client.w.Limits.Message.Unlimited() }

// uncountable refuses a request whose body cannot be read here while it may be JSON to its node.
func (x *exchange) uncountable(r *http1.Request) policy.Refusal {
	if r.Body == http1.NoBody {
		return policy.Refusal{}
	}
	x.coding = coding.Of(r)
	if x.coding != coding.Opaque || !x.limited() || !coding.MayBeJSON(r) {
		return policy.Refusal{}
	}
	return undecoded("the messages of a body can be counted without Content-Encoding, or with gzip or deflate")
}

func undecoded(text string) policy.Refusal {
	return policy.RefusalOf(board.ReasonBadRequest, 0).With(http.StatusUnsupportedMediaType).Because(text)
}

// countMessages counts the messages in a piece of the body, and charges the source for each but the first, with
// which the request was charged. They are refused if the source owes much already, or comes to owe as much as can be kept
// account of; the end of the body, without which the node makes nothing of it, has not been sent then.
func (x *exchange) countMessages(data []byte) policy.Refusal {
	last := x.in.Done()
	for len(data) > 0 {
		n := x.batch.Text(data, last)
		switch {
		case x.coding != coding.Foreign:
		case x.batch.Object(): // in every charset that has the brace there at all
			x.coding = coding.Readable
		default:
			x.foreign += uint32(n)
		}
		data = data[n:]
		if m := x.batch.Messages() + int(x.foreign/mcp.UnreadBytes); m > int(x.charged) {
			if no := x.charge(m - int(x.charged)); !no.None() {
				return no
			}
		}
	}
	return policy.Refusal{}
}

// charge charges the source for more messages of a body. A batch begins when the source owes no more than what is
// held of single messages: other batches may have come since its head was let in.
func (x *exchange) charge(more int) policy.Refusal {
	w := x.client.w
	if !x.exempt {
		no := w.Limits.Batch(w.Board.Sources().MessageRate(x.source), w.Loop.Now(), more, x.charged == 1)
		if !no.None() {
			w.Rejected(x.source, x.addr, "messages in batches")
			return no
		}
	}
	x.charged += uint32(more)
	w.Cell.Messages.Add(uint64(more))
	x.backend.Flow.Messages.Add(uint64(more))
	return policy.Refusal{}
}

// payFor charges the source for the length of a body, of which so much is known. That makes it wait with what comes next, and
// refuses nothing.
func (x *exchange) payFor(length int64) {
	w := x.client.w
	if more := w.Limits.Extra(x.paid, length); more > 0 && !x.exempt {
		w.Limits.Message.ChargeAnyway(w.Board.Sources().MessageRate(x.source), w.Loop.Now(), more)
	}
	x.paid = max(x.paid, length)
}

// toolOver charges a source for the call of a tool that has a limit, and rejects one over it: other requests of the
// client need not wait for it. Only the headers of the stateless era are believed: its nodes are obliged to refuse
// those that contradict the body, so that nobody can name one tool and call another. A source that speaks an earlier
// revision is bound by the message rate alone.
func (x *exchange) toolOver(r *http1.Request, now int64) policy.Refusal {
	w := x.client.w
	if len(w.Limits.Tools) == 0 || !x.stateless || string(r.Method) != "POST" || string(r.Get("mcp-method")) != mcp.MethodCallTool {
		return policy.Refusal{}
	}
	t := w.Limits.Tool(r.Get("mcp-name"))
	if t == nil {
		return policy.Refusal{}
	}
	wait, ok := t.Rate.Charge(w.Board.ToolRate(x.addr, t.Hash), now, 1, 0)
	if ok {
		return policy.Refusal{}
	}
	w.Rejected(x.source, x.addr, "calls of a tool")
	return policy.RefusalOf(board.ReasonMessageRate, wait).Because("this tool is rate limited")
}

// maxPeeked is how much of an encoded body is kept until its first byte that is no white space has come.
const maxPeeked = 1 << 10

// peek looks into an encoded body, of which data comes next, and refuses it if it holds a batch.
func (x *exchange) peek(data []byte) policy.Refusal {
	if x.coding != coding.Gzipped && x.coding != coding.Deflated || !x.limited() {
		return policy.Refusal{}
	}
	before := len(x.peeked)
	x.peeked = append(x.peeked, data[:min(len(data), maxPeeked-before)]...)
	full := len(x.peeked) == maxPeeked
	if bits.Len(uint(before)) == bits.Len(uint(len(x.peeked))) && !full && !x.in.Done() {
		return policy.Refusal{} // not for every byte that comes
	}
	batch, known := coding.HoldsBatch(x.peeked, x.coding)
	switch {
	case batch:
		return undecoded("a batch can be counted without Content-Encoding only")
	case known:
		x.coding, x.peeked = coding.Readable, nil
	case full:
		return undecoded("the beginning of the encoded body says nothing")
	}
	return policy.Refusal{}
}
