package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// legacy serves the HTTP+SSE transport of 2024-11-05: GET opens a stream of events, the first of which says where messages
// are to be posted, and the answers come on it.
type legacy struct {
	server *sdk.Server
	bodies *bodies
	limit  int64 // bytes of a message

	mu      sync.Mutex
	streams map[string]*eventStream
}

func newLegacy(server *sdk.Server, all *bodies, limit int64) *legacy {
	return &legacy{server: server, bodies: all, limit: limit, streams: make(map[string]*eventStream)}
}

// open serves a stream.
func (l *legacy) open(w http.ResponseWriter, r *http.Request) {
	id := rand.Text()
	endpoint, err := r.URL.Parse("?sessionid=" + id)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s := newEventStream(w, l.bodies.message(r.Context()))
	defer s.body.release()
	end := context.AfterFunc(s.body.ctx, func() { _ = s.control.SetWriteDeadline(time.Now()) })
	defer end()
	l.mu.Lock()
	l.streams[id] = s
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.streams, id)
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	if err := s.say("endpoint", []byte(endpoint.RequestURI())); err != nil {
		return
	}
	session, err := l.server.Connect(r.Context(), s, nil)
	if err != nil {
		return
	}
	select {
	case <-s.body.ctx.Done():
	case <-s.closed:
	}
	_ = s.Close() // or what waits to be written would be, one after the other
	_ = session.Close()
}

// post takes a message for a stream.
func (l *legacy) post(w http.ResponseWriter, r *http.Request) {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		http.Error(w, "Content-Type must be 'application/json'", http.StatusUnsupportedMediaType)
		return
	}
	id := r.URL.Query().Get("sessionid")
	if id == "" {
		http.Error(w, "sessionid must be provided", http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	s := l.streams[id]
	l.mu.Unlock()
	if s == nil {
		http.Error(w, "session not found", http.StatusNotFound)
		return
	}
	b := l.bodies.message(r.Context())
	defer b.release()
	if !b.receive(w, r, l.limit) {
		return
	}
	message, err := jsonrpc.DecodeMessage(b.text)
	if err != nil {
		http.Error(w, "the body is not one JSON-RPC message", http.StatusBadRequest)
		return
	}
	if err := s.take(message, b); err != nil {
		http.Error(w, "session closed", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// eventStream is an sdk.Transport, and its own sdk.Connection. Who posts to it waits while its client does not take the
// answers.
type eventStream struct {
	*backlog
	w        http.ResponseWriter
	control  *http.ResponseController
	turn     chan struct{} // of who posts
	incoming chan jsonrpc.Message

	writing sync.Mutex
	closed  chan struct{}
	close   func()
}

func newEventStream(w http.ResponseWriter, b *body) *eventStream {
	closed := make(chan struct{})
	return &eventStream{
		backlog: newBacklog(b),
		w:       w, control: http.NewResponseController(w),
		turn: make(chan struct{}, 1), incoming: make(chan jsonrpc.Message),
		closed: closed, close: sync.OnceFunc(func() { close(closed) }),
	}
}

// take hands over a message that has come in b, when there is room for its answer.
func (s *eventStream) take(message jsonrpc.Message, b *body) error {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	defer context.AfterFunc(s.body.ctx, cancel)()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, err := s.waits(ctx); err != nil {
		return err
	}
	call := isCall(message)
	if call {
		s.asked(len(b.text))
		b.passTo(s.body)
	}
	select {
	case s.incoming <- message:
		return nil
	case <-s.closed:
	case <-ctx.Done():
	}
	if call {
		s.replied() // it never will be
	}
	return io.EOF
}

func (s *eventStream) Connect(context.Context) (sdk.Connection, error) { return s, nil }

// SessionID is empty: the stream is the session.
func (s *eventStream) SessionID() string { return "" }

// SupportsProtocolVersion reports that the stateless era knows no such stream.
func (s *eventStream) SupportsProtocolVersion(version string) bool {
	return mcp.EraOf(version) == mcp.SessionEra
}

func (s *eventStream) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case message := <-s.incoming:
		return message, nil
	case <-s.closed:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *eventStream) Write(_ context.Context, message jsonrpc.Message) error {
	return s.send(message, func(text []byte) error { return s.say("message", text) })
}

// say writes an event at once.
func (s *eventStream) say(kind string, data []byte) error {
	event := make([]byte, 0, len(data)+len(kind)+len("event: \ndata: \n\n"))
	event = append(append(append(event, "event: "...), kind...), "\ndata: "...)
	event = append(bytes.TrimSuffix(append(event, data...), []byte{'\n'}), "\n\n"...)
	s.writing.Lock()
	defer s.writing.Unlock()
	select {
	case <-s.closed: // the response must not be touched any more
		return io.EOF
	default:
	}
	if _, err := s.w.Write(event); err != nil {
		return err
	}
	return s.control.Flush()
}

// Close ends the stream, with what is being written.
func (s *eventStream) Close() error {
	s.close()
	s.writing.Lock() // until it is
	defer s.writing.Unlock()
	return nil
}
