package attack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptrace"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// fixedHeader is what all requests have in common.
func fixedHeader(o *wire.OpenOrder) http.Header {
	h := http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "User-Agent": {"erlmcp"},
	}
	if o.Work.Era == mcp.StatelessEra {
		h.Set(mcp.HeaderProtocolVersion, mcp.Version20260728)
	}
	own := make(http.Header)
	for _, f := range o.Endpoint.Header {
		own.Add(f.Name, f.Value)
	}
	maps.Copy(h, own)
	return h
}

// header is the head of a request of a client.
func (c *client) header(method, name string) http.Header {
	h := maps.Clone(c.attack.fixed)
	if c.attack.script.Work().Era == mcp.StatelessEra {
		h[mcp.HeaderMethod] = []string{method}
		if name != "" {
			h[mcp.HeaderName] = []string{mcp.HeaderValue(name)}
		}
		return h
	}
	if c.version != 0 {
		h[mcp.HeaderProtocolVersion] = mcp.Versions[c.version-1 : c.version]
	}
	if c.session != "" {
		h[mcp.HeaderSessionID] = []string{c.session}
	}
	return h
}

// answer is a response as far as it has been read.
type answer struct {
	link   *link // nil: not of a client
	status int
	head   http.Header
	line   []byte // the message; nil: none
	body   io.ReadCloser
}

var (
	errTooLong = errors.New("the reply is too long")
	errNoReply = errors.New("the event stream has ended without the reply")
)

// post sends a message of a client over its connection and reads the reply to it; the caller has to finish the answer. Nobody
// holds mu.
func (a *Attack) post(ctx context.Context, l *link, head http.Header, message []byte) (*answer, error) {
	if a.endpoint.Secure {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { l.quiet.Store(false) }})
	}
	resp, err := l.conn.RoundTrip(a.request(ctx, head, message)) //nolint:bodyclose // finish does
	if err != nil {
		return nil, err
	}
	if resp.Close { // net/http will not read on to see the end
		l.last.Store(true)
		l.hear(io.EOF)
	}
	return l.client.read(l, resp, head)
}

// postAside sends a message of a client over another connection than its own.
func (c *client) postAside(ctx context.Context, head http.Header, message []byte) (*answer, error) {
	r := c.attack.request(context.WithValue(ctx, clientKey{}, c), head, message)
	resp, err := c.attack.aside.RoundTrip(r) //nolint:bodyclose // finish does
	if err != nil {
		return nil, err
	}
	return c.read(nil, resp, head)
}

// request is one with a message.
func (a *Attack) request(ctx context.Context, head http.Header, message []byte) *http.Request {
	r := &http.Request{
		Method: http.MethodPost, URL: a.url, Host: a.host, Header: head,
		Body: io.NopCloser(bytes.NewReader(message)), ContentLength: int64(len(message)),
	}
	return r.WithContext(ctx)
}

// read reads the reply in a response to a request with a head. The link is nil if that went aside.
func (c *client) read(l *link, resp *http.Response, head http.Header) (*answer, error) {
	var err error
	n := &answer{link: l, status: resp.StatusCode, head: resp.Header, body: resp.Body}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media == "text/event-stream" && n.cause() == ask.CauseNone {
		n.line, err = replyOf(resp.Body, func(message []byte) { c.react(message, head) })
	} else {
		n.line, err = whole(resp)
		if errors.Is(err, errTooLong) && n.cause() != ask.CauseNone {
			err = nil // somebody explains at length
		}
	}
	if err != nil {
		n.finish()
		return nil, err
	}
	return n, nil
}

// maxReactions bounds what is told a server that asks, and does not listen.
const maxReactions = maxAside

// react says to a request of the server what there is to be said, with the head of the request in whose answer it came: over
// another connection, for this one is busy with that.
func (c *client) react(message []byte, head http.Header) {
	said := ask.AppendReaction(nil, message)
	a := c.attack
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(said) == 0 || a.reactions == maxReactions {
		return
	}
	a.reactions++
	a.spawn(func() {
		ctx, cancel := context.WithTimeout(a.opening, a.timeout)
		defer cancel()
		if n, err := c.postAside(ctx, head, said); err == nil {
			n.finish()
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.reactions--
	})
}

// whole is the body of a response.
func whole(r *http.Response) ([]byte, error) {
	var p []byte
	var err error
	switch {
	case r.ContentLength > ask.MaxReply:
		return nil, errTooLong
	case r.ContentLength >= 0:
		p = make([]byte, r.ContentLength)
		_, err = io.ReadFull(r.Body, p)
	default:
		p, err = io.ReadAll(io.LimitReader(r.Body, ask.MaxReply+1))
	}
	if len(p) > ask.MaxReply {
		return nil, errTooLong
	}
	return p, err
}

// finish reads what comes after the reply, without which the connection cannot be used again.
func (n *answer) finish() {
	_, _ = io.Copy(io.Discard, io.LimitReader(n.body, ask.MaxReply))
	_ = n.body.Close()
	if n.link != nil {
		n.link.busy.Store(false)
	}
}

// cause is why the answer is none that a client wants, as far as its status says.
func (n *answer) cause() ask.Cause {
	cause := causeOfStatus(n.status)
	if cause == ask.CauseNone || n.line == nil {
		return cause
	}
	if m, err := mcp.ParseReply(n.line); err == nil && m.Err != nil {
		if said := ask.CauseOfCode(m.Err.Code); said != ask.CauseReply {
			return said
		}
	}
	return cause
}

// causeOfStatus is what a status says; CauseNone of those that say yes.
func causeOfStatus(status int) ask.Cause {
	if status/100 == 2 {
		return ask.CauseNone
	}
	return ask.CauseOfStatus(status)
}

// forgotten reports whether a server says that it does not know the session: servers differ in how they do.
func (n *answer) forgotten() bool {
	return n.status == http.StatusNotFound || n.status == http.StatusBadRequest && http1.IndexFold(n.line, "session") >= 0
}

// maxName is the longest name of a node.
const maxName = 64

// named is the name of the node that a reply is from. It is not ok if the node should have been named and was not.
func (a *Attack) named(n *answer, r ask.Reply) (name string, ok bool) {
	switch a.script.Work().Naming {
	case work.ByHeader:
		name = n.head.Get(string(work.ByHeader))
		return name, name != "" && len(name) <= maxName
	case work.ByAnswer:
		return string(r.Node), len(r.Node) > 0
	}
	return "", true
}
