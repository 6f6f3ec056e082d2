package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/bits"
	"net/http"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
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

// coding is what the head of a request says of how its body can be read.
type coding uint8

const (
	readable coding = iota
	foreign         // in a charset that may hide ASCII
	gzipped         // by name; some servers look for themselves
	deflated        // likewise
	opaque          // in another content coding, or in one of these and in such a charset
)

// codingOf looks at the fields that say how a body is to be read.
func codingOf(r *http1.Request) coding {
	charset := readable
	for i := range r.Fields {
		if f := &r.Fields[i]; len(f.Name) == len("content-type") && http1.EqualFold(f.Name, "content-type") && hidesASCII(f.Value) {
			charset = foreign
		}
	}
	switch named := r.Get("content-encoding"); {
	case r.Repeated("content-encoding"):
		return opaque
	case len(named) == 0, http1.EqualFold(named, "identity"):
		return charset
	case charset == foreign:
		return opaque
	case http1.EqualFold(named, "gzip"), http1.EqualFold(named, "x-gzip"):
		return gzipped
	case http1.EqualFold(named, "deflate"):
		return deflated
	}
	return opaque
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

// mayBeJSON reports whether a request does not say that its body is something else. What it says in a charset that
// hides ASCII is not believed.
func mayBeJSON(r *http1.Request) bool {
	t := r.Get("content-type")
	return len(t) == 0 || r.Repeated("content-type") || http1.IndexFold(t, "json") >= 0 || hidesASCII(t)
}

// limited reports whether messages of the source are bound by a rate.
func (x *exchange) limited() bool { return !x.exempt && !x.client.w.limits.message.unlimited() }

// uncountable refuses a request whose body cannot be read here while it may be JSON to its node.
func (x *exchange) uncountable(r *http1.Request) denial {
	if r.Body == http1.NoBody {
		return denial{}
	}
	x.coding = codingOf(r)
	if x.coding != opaque || !x.limited() || !mayBeJSON(r) {
		return denial{}
	}
	return undecoded("the messages of a body can be counted without Content-Encoding, or with gzip or deflate")
}

func undecoded(text string) denial {
	return denial{reason: board.ReasonBadRequest, status: http.StatusUnsupportedMediaType, text: text}
}

// countMessages counts the messages in a piece of the body, and charges the source for each but the first, with
// which the request was charged. They are refused if the source owes much already, or comes to owe as much as can be kept
// account of; the end of the body, without which the node makes nothing of it, has not been sent then.
func (x *exchange) countMessages(data []byte) denial {
	last := x.in.Done()
	for len(data) > 0 {
		n := x.batch.Text(data, last)
		switch {
		case x.coding != foreign:
		case x.batch.Object(): // in every charset that has the brace there at all
			x.coding = readable
		default:
			x.foreign += uint32(n)
		}
		data = data[n:]
		if m := x.batch.Messages() + int(x.foreign/mcp.UnreadBytes); m > int(x.charged) {
			if no := x.charge(m - int(x.charged)); !no.none() {
				return no
			}
		}
	}
	return denial{}
}

// charge charges the source for more messages of a body. A batch begins when the source owes no more than what is
// held of single messages: other batches may have come since its head was let in.
func (x *exchange) charge(more int) denial {
	w := x.client.w
	if x.limited() {
		tat, now, limit := w.board.Sources().MessageRate(x.source), w.loop.Now(), w.limits.message
		if x.charged == 1 && w.spec.Limits.Action != ActionThrottle {
			patience := time.Duration(int64(more) * limit.interval)
			if !w.limits.reject {
				patience += w.limits.patience
			}
			if ok, wait := board.ChargeAhead(tat, now, limit.interval, limit.burst, int64(more), patience); !ok {
				return x.overBatchRate("rate limited", wait)
			}
		} else if wait := board.ChargeAnyway(tat, now, limit.interval, limit.burst, int64(more)); wait >= board.MaxDebt {
			return x.overBatchRate("more messages in batches than may come in a minute", wait)
		}
	}
	x.charged += uint32(more)
	w.cell.Messages.Add(uint64(more))
	x.backend.flow.Messages.Add(uint64(more))
	return denial{}
}

// payFor charges the source for the length of a body, of which so much is known. That makes it wait with what comes next, and
// refuses nothing.
func (x *exchange) payFor(length int64) {
	w, limit := x.client.w, x.client.w.limits.message
	if more := w.limits.extra(x.paid, length); more > 0 && x.limited() {
		board.ChargeAnyway(w.board.Sources().MessageRate(x.source), w.loop.Now(), limit.interval, limit.burst, int64(more))
	}
	x.paid = max(x.paid, length)
}

// overBatchRate rejects a batch over the message rate.
func (x *exchange) overBatchRate(text string, wait time.Duration) denial {
	w := x.client.w
	w.cell.Rejects.Add(1)
	w.violation(x.source, x.addr, w.loop.Now(), "messages in batches")
	return denial{reason: board.ReasonMessageRate, status: http.StatusTooManyRequests, text: text, wait: wait}
}

const (
	// maxPeeked is how much of an encoded body is kept until its first byte that is no white space has come.
	maxPeeked = 1 << 10
	// maxBlank is how much white space may come before it, decoded.
	maxBlank = 64 << 10
)

// peek looks into an encoded body, of which data comes next, and refuses it if it holds a batch.
func (x *exchange) peek(data []byte) denial {
	if x.coding != gzipped && x.coding != deflated || !x.limited() {
		return denial{}
	}
	before := len(x.peeked)
	x.peeked = append(x.peeked, data[:min(len(data), maxPeeked-before)]...)
	full := len(x.peeked) == maxPeeked
	if bits.Len(uint(before)) == bits.Len(uint(len(x.peeked))) && !full && !x.in.Done() {
		return denial{} // not for every byte that comes
	}
	batch, known := peekInto(x.peeked, x.coding == deflated)
	switch {
	case batch:
		return undecoded("a batch can be counted without Content-Encoding only")
	case known:
		x.coding, x.peeked = readable, nil
	case full:
		return undecoded("the beginning of the encoded body says nothing")
	}
	return denial{}
}

// peekInto decodes the beginning of a body until it is known whether it may be a batch. What cannot be decoded
// is none, unless it is said to be gzip by its first bytes: some read heads that are too long here.
func peekInto(p []byte, deflated bool) (batch, known bool) {
	decoder, err := decoderOf(p, deflated)
	if err != nil {
		return isGzip(p) && !isCut(err), !isCut(err)
	}
	var s mcp.Scanner
	var room [512]byte
	for blank := 0; blank < maxBlank; {
		n, err := decoder.Read(room[:])
		blank += n
		if s.Text(room[:n], false); s.Decided() {
			return s.Batch(), true
		}
		if err != nil {
			return false, !isCut(err)
		}
	}
	return true, true
}

// isCut reports whether there was not enough to go on.
func isCut(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func isGzip(p []byte) bool { return len(p) > 1 && p[0] == 0x1f && p[1] == 0x8b }

// decoderOf reads gzip or zlib, whichever it is, or else what is deflated without a head.
func decoderOf(p []byte, deflated bool) (io.Reader, error) {
	if len(p) < 2 {
		return nil, io.ErrUnexpectedEOF
	}
	r := bytes.NewReader(p)
	switch {
	case isGzip(p):
		return gzip.NewReader(r)
	case p[0]&0x0f == 8 && (uint(p[0])<<8|uint(p[1]))%31 == 0:
		return zlib.NewReader(r)
	}
	if !deflated {
		return nil, gzip.ErrHeader
	}
	return flate.NewReader(r), nil
}
