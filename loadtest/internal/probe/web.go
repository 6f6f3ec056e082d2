package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

const (
	jsonType    = "application/json"
	eventStream = "text/event-stream"
)

// web speaks Streamable HTTP, over one connection as long as the server keeps it.
type web struct {
	endpoint  target.Endpoint
	era       mcp.Era
	transport *http.Transport
	last      atomic.Pointer[tap] // of the connection dialed last
	session   string
	version   string
}

func newWeb(e target.Endpoint, from netip.Addr, era mcp.Era) *web {
	w := &web{endpoint: e, era: era}
	w.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, err := dialer(from).DialContext(ctx, network, e.Address.String())
			if err != nil {
				return nil, err
			}
			t := &tap{Conn: conn}
			w.last.Store(t)
			return t, nil
		},
		TLSClientConfig: tlsConfig(e), DisableCompression: true, MaxResponseHeaderBytes: 64 << 10, Protocols: new(http.Protocols),
	}
	switch p := w.transport.Protocols; {
	case e.HTTP2 && e.Secure && e.Transport != target.WS:
		p.SetHTTP2(true)
	case e.HTTP2 && e.Transport != target.WS:
		p.SetUnencryptedHTTP2(true)
	default:
		p.SetHTTP1(true)
		w.transport.TLSClientConfig.NextProtos = []string{"http/1.1"} // a server that has none of it says so then
	}
	return w
}

func (w *web) url() string {
	t := w.endpoint.Target
	scheme := "http"
	if t.Secure {
		scheme = "https"
	}
	return scheme + "://" + t.Authority() + t.Path
}

// host is what requests say in Host: without the port where that is the usual one.
func (w *web) host() string {
	for _, f := range w.endpoint.Header {
		if strings.EqualFold(f.Name, "Host") {
			return f.Value
		}
	}
	t := w.endpoint.Target
	if t.Secure && t.Port == 443 || !t.Secure && t.Port == 80 {
		return strings.TrimSuffix(t.Authority(), fmt.Sprintf(":%d", t.Port))
	}
	return t.Authority()
}

// fields adds those of the endpoint to a header.
func (w *web) fields(h http.Header) http.Header {
	for _, f := range w.endpoint.Header {
		if !strings.EqualFold(f.Name, "Host") {
			h.Set(f.Name, f.Value)
		}
	}
	return h
}

// request sends a request and returns the head of its response, the body of which is limited.
func (w *web) request(ctx context.Context, method, body string, h http.Header) (*http.Response, error) {
	return w.requestAt(ctx, w.url(), method, body, h)
}

func (w *web) requestAt(ctx context.Context, url, method, body string, h http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, withoutURL(err)
	}
	if req.Header = w.fields(h); w.session != "" {
		req.Header.Set(mcp.HeaderSessionID, w.session)
	}
	if w.version != "" {
		req.Header.Set(mcp.HeaderProtocolVersion, w.version)
	}
	req.Host = w.host()
	resp, err := w.transport.RoundTrip(req)
	if err != nil {
		return nil, w.failed(ctx, err)
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxBytes), resp.Body}
	return resp, nil
}

// failed says why there is no response.
func (w *web) failed(ctx context.Context, err error) error {
	err = withoutURL(causeOf(ctx, err))
	if said := w.last.Load().first(); len(said) > 0 {
		return &foreignError{said, err}
	}
	return err
}

// withoutURL takes the URL, in which there may be a secret, from an error.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// post sends a message. about is what the head says of it in the stateless era.
func (w *web) post(ctx context.Context, url string, line []byte, about work.Request) (*http.Response, error) {
	h := http.Header{"Content-Type": {jsonType}, "Accept": {jsonType + ", " + eventStream}}
	if w.era == mcp.StatelessEra {
		h.Set(mcp.HeaderProtocolVersion, mcp.Version20260728)
		h.Set(mcp.HeaderMethod, about.Method)
		if about.Name != "" {
			h.Set(mcp.HeaderName, about.HeaderName())
		}
	}
	return w.requestAt(ctx, url, http.MethodPost, string(bytes.TrimSuffix(line, []byte("\n"))), h)
}

func (w *web) ask(ctx context.Context, id uint64, line []byte, about work.Request) (answer, error) {
	resp, err := w.post(ctx, w.url(), line, about)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if isStream(resp) {
		a.line, err = replyIn(newEvents(resp.Body), id)
		a.came = time.Now()
		awaitEnd(resp.Body)
	} else if a.body, err = io.ReadAll(resp.Body); err == nil && answers(a.body, id) {
		a.line, a.body = a.body, nil
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return a, causeOf(ctx, err)
	case a.line == nil || a.status >= 500 || a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return a, &unexpected{a}
	}
	return a, nil
}

// awaitEnd has the connection used again, if its server ends the stream behind the reply, as it should.
func awaitEnd(body io.ReadCloser) {
	const patience = 50 * time.Millisecond
	defer time.AfterFunc(patience, func() { _ = body.Close() }).Stop()
	_, _ = io.CopyN(io.Discard, body, 1<<10)
}

// replyIn is the reply to a request among events; io.EOF if there is none.
func replyIn(in *events, id uint64) ([]byte, error) {
	for {
		e, err := in.next()
		switch {
		case err != nil:
			return nil, err
		case answers(e.data, id):
			return e.data, nil
		}
	}
}

func isStream(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK && mediaType(resp.Header) == eventStream
}

func mediaType(h http.Header) string {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return kind
}

func (w *web) tell(ctx context.Context, line []byte) error { return w.tellAt(ctx, w.url(), line) }

// tellAt posts what has no reply.
func (w *web) tellAt(ctx context.Context, url string, line []byte) error {
	resp, err := w.post(ctx, url, line, work.Request{})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return &unexpected{answer{status: resp.StatusCode, header: resp.Header, body: beginning(resp.Body)}}
	}
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	return nil
}

// beginning is what a body begins with, for people.
func beginning(body io.Reader) []byte {
	text, _ := io.ReadAll(io.LimitReader(body, 4<<10)) // what came is good enough
	return text
}

func (w *web) speaks() string { return mcp.LatestSessionVersion }

func (w *web) agreed(version string, h http.Header) {
	w.version = ""
	if mcp.Known(version) { // what is none goes into no field
		w.version = version
	}
	w.session = h.Get(mcp.HeaderSessionID)
}

// close ends the session. It has little time for it: a server that does not answer keeps nobody.
func (w *web) close() {
	if w.session != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if resp, err := w.request(ctx, http.MethodDelete, "", http.Header{}); err == nil {
			_ = resp.Body.Close()
		}
	}
	w.transport.CloseIdleConnections()
}
