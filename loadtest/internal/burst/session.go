package burst

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

// mostAnswer is how long the answer to initialize may be.
const mostAnswer = 1 << 20

// OpenSession begins a session of MCP at a server of the session era, for all connections of a job. header is for the job,
// end ends the session. A server may do without an id of the session.
func OpenSession(ctx context.Context, e target.Endpoint) (header []target.Field, end func(context.Context) error, err error) {
	s, err := newSession(e)
	if err != nil {
		return nil, nil, err
	}
	if err := s.begin(ctx); err != nil {
		s.client.CloseIdleConnections()
		return nil, nil, fmt.Errorf("begin a session at %s: %w", e.Target, err)
	}
	return s.header, s.end, nil
}

// session is one session of MCP.
type session struct {
	job    Job
	client http.Client
	header []target.Field // that the session adds
	id     string
}

func newSession(e target.Endpoint) (*session, error) {
	s := &session{job: Job{Endpoint: e}}
	trust, err := e.Trust()
	if err != nil {
		return nil, err
	}
	s.client = http.Client{
		Transport: &http.Transport{
			TLSClientConfig: trust,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, e.Address.String())
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

func (s *session) begin(ctx context.Context) error {
	const first = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"` + mcp.LatestSessionVersion +
		`","capabilities":{},"clientInfo":{"name":"erlmcp-loadtest","version":"1"}}}`
	r, err := s.send(ctx, http.MethodPost, first)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	version, err := negotiated(r)
	if err != nil {
		return err
	}
	if s.id = r.Header.Get(mcp.HeaderSessionID); s.id != "" {
		s.header = append(s.header, target.Field{Name: mcp.HeaderSessionID, Value: s.id})
	}
	s.header = append(s.header, target.Field{Name: mcp.HeaderProtocolVersion, Value: version})
	s.job.Header = s.header
	return s.tell(ctx, http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

// end ends the session. A server may keep it for itself when sessions end.
func (s *session) end(ctx context.Context) error {
	defer s.client.CloseIdleConnections()
	if s.id == "" {
		return nil
	}
	err := s.tell(ctx, http.MethodDelete, "")
	var e *statusError
	if errors.As(err, &e) && (e.status == http.StatusMethodNotAllowed || e.status == http.StatusNotFound) {
		return nil
	}
	return err
}

// tell asks for nothing.
func (s *session) tell(ctx context.Context, method, body string) error {
	r, err := s.send(ctx, method, body)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, mostAnswer))
	return r.Body.Close()
}

// statusError is a response that refuses.
type statusError struct {
	status int
	said   string
}

func (e *statusError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("status %d: %s", e.status, e.said), ": ")
}

func (s *session) send(ctx context.Context, method, body string) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, method, s.job.URL().String(), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Host = s.job.Host()
	for _, f := range s.job.Fields() {
		q.Header.Set(f.Name, f.Value)
	}
	r, err := s.client.Do(q)
	if err != nil {
		return nil, err
	}
	if r.StatusCode < 200 || r.StatusCode > 299 {
		defer r.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		return nil, &statusError{r.StatusCode, ask.Saying(bytes.TrimSpace(said))}
	}
	return r, nil
}

// negotiated is the version of the protocol that an answer to initialize chooses.
func negotiated(r *http.Response) (string, error) {
	in := bufio.NewReader(io.LimitReader(r.Body, mostAnswer))
	kind, _, _ := mime.ParseMediaType(r.Header.Get(contentType))
	if kind != "text/event-stream" {
		text, err := io.ReadAll(in)
		if err != nil {
			return "", err
		}
		version, ok := versionIn(text)
		if !ok {
			return "", fmt.Errorf("the answer to initialize is none: %s", ask.Saying(text))
		}
		return version, nil
	}
	var data []byte // of one event
	for {
		line, err := in.ReadBytes('\n')
		line = bytes.TrimRight(line, "\r\n")
		switch rest, ok := bytes.CutPrefix(line, []byte("data:")); {
		case ok:
			data = append(append(data, bytes.TrimPrefix(rest, []byte(" "))...), '\n')
		case len(line) == 0:
			if version, ok := versionIn(data); ok {
				return version, nil
			}
			data = nil
		}
		if err != nil {
			return "", errors.New("the event stream ends without an answer to initialize")
		}
	}
}

// versionIn is the version in a message, if that is an answer to initialize.
func versionIn(message []byte) (string, bool) {
	var m struct {
		Result struct {
			Version string `json:"protocolVersion"`
		} `json:"result"`
	}
	if err := json.Unmarshal(message, &m); err != nil || m.Result.Version == "" {
		return "", false
	}
	return m.Result.Version, true
}
