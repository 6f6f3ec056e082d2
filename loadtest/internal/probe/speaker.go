package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// maxBytes is how much of one answer, or one conversation, is read.
const maxBytes = 1 << 20

// speaker is a conversation with a server.
type speaker interface {
	// ask sends a request and waits for what answers it: its reply, or whatever comes in place of one.
	ask(ctx context.Context, id uint64, line []byte, about work.Request) (answer, error)
	// tell sends a notification.
	tell(ctx context.Context, line []byte) error
	// speaks is the revision to begin a session with, and agreed is told what the server made of it.
	speaks() string
	agreed(version string, header http.Header)
	// close ends the conversation, and a session that was begun.
	close()
}

// answer is what came of a question.
type answer struct {
	line   []byte      // a reply, or whatever a server of lines said; nil if there is none
	status int         // of a response over HTTP
	header http.Header // that came with it, or at the begin of the conversation; nil over TCP
	body   []byte      // what a response has in place of a reply
	came   time.Time   // when the reply did, if more had to be awaited behind it
}

// unexpected is an answer that helps no further.
type unexpected struct{ answer }

func (u *unexpected) Error() string { return "not an answer of MCP" }

// open connects as the transport of the endpoint does. from may be the zero address.
func open(ctx context.Context, e target.Endpoint, from netip.Addr, era mcp.Era) (speaker, error) {
	switch e.Transport {
	case target.HTTP:
		return newWeb(e, from, era), nil
	case target.SSE:
		return openStream(ctx, newWeb(e, from, mcp.SessionEra))
	case target.WS:
		return openSocket(ctx, newWeb(e, from, era))
	}
	conn, err := dialer(from).DialContext(ctx, "tcp", e.Address.String())
	if err != nil {
		return nil, err
	}
	limit := &io.LimitedReader{R: conn, N: maxBytes}
	return &lines{conn, limit, bufio.NewReader(limit)}, nil
}

func dialer(from netip.Addr) *net.Dialer {
	d := &net.Dialer{}
	if from.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	return d
}

// lines speaks newline-delimited JSON-RPC.
type lines struct {
	conn  net.Conn
	limit *io.LimitedReader
	in    *bufio.Reader
}

func (l *lines) ask(ctx context.Context, _ uint64, line []byte, _ work.Request) (answer, error) {
	defer context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })()
	// A server that refuses everybody may have said why and closed: that can be read even if nothing can be written.
	_, writeErr := l.conn.Write(line)
	for {
		got, err := l.in.ReadBytes('\n')
		switch {
		case err == nil && mcp.TopMethod(got) != nil: // a request or notification of the server
			continue
		case err == nil:
			return answer{line: got}, nil
		case l.limit.N == 0:
			return answer{}, errTalkative
		case len(got) == 0 && writeErr != nil:
			err = writeErr
		}
		return answer{line: got}, causeOf(ctx, err)
	}
}

// causeOf prefers the reason of the context, whose end shows as a time-out of the connection.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) && context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	return err
}

func (l *lines) tell(_ context.Context, line []byte) error {
	_, err := l.conn.Write(line)
	return err
}

func (l *lines) speaks() string             { return mcp.LatestSessionVersion }
func (l *lines) agreed(string, http.Header) {}
func (l *lines) close()                     { _ = l.conn.Close() }

// socket speaks a message a WebSocket text message.
type socket struct {
	web    *web
	conn   *websocket.Conn
	header http.Header // of the upgrade
}

func openSocket(ctx context.Context, w *web) (speaker, error) {
	w.era = mcp.SessionEra                                                  // headers of the stateless era are of requests
	conn, resp, err := websocket.Dial(ctx, w.url(), &websocket.DialOptions{ //nolint:bodyclose // the library does
		HTTPClient: &http.Client{
			Transport:     w.transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader: w.fields(http.Header{}), Host: w.host(), Subprotocols: []string{"mcp"},
	})
	if err != nil {
		defer w.close()
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, &unexpected{answer{status: resp.StatusCode, header: resp.Header, body: beginning(resp.Body)}}
		}
		return nil, w.failed(ctx, err)
	}
	conn.SetReadLimit(maxBytes)
	return &socket{w, conn, resp.Header}, nil
}

func (s *socket) ask(ctx context.Context, id uint64, line []byte, _ work.Request) (answer, error) {
	if err := s.tell(ctx, line); err != nil {
		return answer{}, causeOf(ctx, err)
	}
	for range maxMessages {
		_, got, err := s.conn.Read(ctx)
		if err != nil {
			return answer{}, causeOf(ctx, err)
		}
		if mcp.TopMethod(got) == nil {
			if !answers(got, id) {
				return answer{}, &unexpected{answer{status: http.StatusSwitchingProtocols, header: s.header, body: got}}
			}
			return answer{line: got, header: s.header}, nil
		}
	}
	return answer{}, errTalkative
}

// maxMessages is how many messages of its own a server may send before it answers.
const maxMessages = 1000

var errTalkative = errors.New("the server sends messages without end, and no answer")

func (s *socket) tell(ctx context.Context, line []byte) error {
	return s.conn.Write(ctx, websocket.MessageText, bytes.TrimSuffix(line, []byte("\n")))
}

func (s *socket) speaks() string             { return mcp.LatestSessionVersion }
func (s *socket) agreed(string, http.Header) {}
func (s *socket) close() {
	_ = s.conn.CloseNow()
	s.web.close()
}

// answers reports whether a line is the reply to a request, or an error that is about none.
func answers(line []byte, id uint64) bool {
	r, err := mcp.ParseReply(line)
	if err != nil {
		return false
	}
	n, ok := r.Number()
	return ok && n == id || string(r.ID) == "null" && r.Err != nil
}

// tap notes what a server says first on a connection, which tells its protocol if it is another than expected.
type tap struct {
	net.Conn
	mu   sync.Mutex
	said []byte
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 32 - len(t.said); room > 0 {
		t.said = append(t.said, p[:min(n, room)]...)
	}
	return n, err
}

func (t *tap) first() []byte {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.said)
}

// foreignError says that a server of HTTP was expected, and said something else first.
type foreignError struct {
	said []byte
	err  error
}

func (e *foreignError) Error() string { return e.err.Error() }
func (e *foreignError) Unwrap() error { return e.err }

// tlsConfig is how the server of an endpoint is trusted.
func tlsConfig(e target.Endpoint) *tls.Config {
	c, _ := e.Trust() // with an error nobody is trusted, which is found out like any other
	return c
}
