package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// event is one of a stream (WHATWG HTML, Server-sent events).
type event struct {
	kind string
	data []byte
}

// events reads a stream.
type events struct {
	in      *bufio.Reader
	pending [][]byte // lines that were read, and none is done with
}

func newEvents(r io.Reader) *events { return &events{in: bufio.NewReader(r)} }

// next returns the next event that has data. The error is one of the stream, io.EOF at its end.
func (s *events) next() (event, error) {
	e := event{kind: "message"}
	var data [][]byte
	for {
		line, err := s.line()
		if err != nil {
			return event{}, err
		}
		if len(line) == 0 {
			if data != nil {
				e.data = bytes.Join(data, []byte("\n"))
				return e, nil
			}
			e.kind = "message"
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			e.kind = string(value)
		case "data":
			data = append(data, value)
		}
	}
}

// line returns a line without its end, which is CR, LF or both.
func (s *events) line() ([]byte, error) {
	if len(s.pending) == 0 {
		text, err := s.in.ReadBytes('\n')
		if err != nil {
			return nil, err // a line that has no end is none
		}
		text = bytes.TrimSuffix(text[:len(text)-1], []byte("\r"))
		s.pending = bytes.Split(text, []byte("\r"))
	}
	line := s.pending[0]
	s.pending = s.pending[1:]
	return line, nil
}

// stream speaks HTTP with SSE, as of 2024-11-05.
type stream struct {
	*web
	in     *events
	body   io.Closer
	header http.Header // of the stream
	post   string      // URL for messages
}

// openStream begins the stream and awaits its first event, which tells where to post.
func openStream(ctx context.Context, w *web) (speaker, error) {
	// The stream outlives the question that it is opened for, but not the time that may take.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
	defer stop()
	resp, err := w.request(life, http.MethodGet, "", http.Header{"Accept": {eventStream}}) //nolint:bodyclose // the stream's end does
	if err != nil {
		end(nil)
		w.close()
		return nil, causeOf(ctx, err)
	}
	s := &stream{web: w, in: newEvents(resp.Body), header: resp.Header, body: closer(func() error {
		end(nil)
		return resp.Body.Close()
	})}
	if !isStream(resp) {
		defer s.close()
		return nil, &unexpected{answer{status: resp.StatusCode, header: resp.Header, body: beginning(resp.Body)}}
	}
	first, err := s.in.next()
	if err == nil && first.kind == "endpoint" {
		s.post, err = relative(w.url(), string(first.data))
	} else if err == nil {
		err = errNoEndpoint
	}
	if err != nil {
		s.close()
		if errors.Is(err, errNoEndpoint) || errors.Is(err, io.EOF) {
			return nil, &unexpected{answer{status: resp.StatusCode, header: resp.Header}}
		}
		return nil, causeOf(ctx, err)
	}
	return s, nil
}

var errNoEndpoint = errors.New("the first event of the stream is not endpoint")

type closer func() error

func (c closer) Close() error { return c() }

// relative is where an event endpoint says to post to: within the same origin, so that no server has clients connect
// elsewhere.
func relative(base, reference string) (string, error) {
	from, err := url.Parse(base)
	if err != nil {
		return "", errNoEndpoint
	}
	to, err := from.Parse(reference)
	if err != nil || to.Host != from.Host || to.Scheme != from.Scheme || to.User != nil {
		return "", errNoEndpoint
	}
	return to.String(), nil
}

func (s *stream) ask(ctx context.Context, id uint64, line []byte, _ work.Request) (answer, error) {
	if err := s.tell(ctx, line); err != nil {
		return answer{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.body.Close() })
	defer stop()
	got, err := replyIn(s.in, id)
	if err != nil {
		return answer{}, causeOf(ctx, err)
	}
	return answer{line: got, status: http.StatusOK, header: s.header}, nil
}

func (s *stream) tell(ctx context.Context, line []byte) error { return s.tellAt(ctx, s.post, line) }

func (s *stream) speaks() string             { return mcp.Version20241105 }
func (s *stream) agreed(string, http.Header) {}
func (s *stream) close() {
	_ = s.body.Close()
	s.transport.CloseIdleConnections()
}
