package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/coder/websocket"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// webSocket serves MCP with one JSON-RPC message in each text message.
type webSocket struct {
	server     *sdk.Server
	bodies     *bodies
	maxMessage int64
}

func (s *webSocket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{"mcp"},
		InsecureSkipVerify: true, // see sameOrigin
	})
	if err != nil {
		return // answered by Accept
	}
	ws.SetReadLimit(s.maxMessage)
	transport := newSocketTransport(r.Context(), ws, s.bodies)
	defer transport.release()
	session, err := s.server.Connect(r.Context(), transport, nil)
	if err != nil {
		_ = ws.CloseNow()
		return
	}
	_ = session.Wait() // why it has ended is the client's affair
}

// maxUnanswered is how many requests of a socket, and how many bytes of them, may be under way before no more is read.
const (
	maxUnanswered      = 128
	maxUnansweredBytes = 1 << 20
)

// socketTransport is an sdk.Transport, and its own sdk.Connection, over a WebSocket.
type socketTransport struct {
	ws   *websocket.Conn
	body *body // what comes in

	mu         sync.Mutex
	reading    bool // a message is coming in
	unanswered int
	bytes      int           // of them
	answered   chan struct{} // closed when an answer is written
}

func newSocketTransport(ctx context.Context, ws *websocket.Conn, all *bodies) *socketTransport {
	t := &socketTransport{ws: ws, body: all.message(ctx), answered: make(chan struct{})}
	context.AfterFunc(t.body.ctx, func() { _ = ws.CloseNow() })
	return t
}

func (t *socketTransport) release() { t.body.release() }

func (t *socketTransport) Connect(context.Context) (sdk.Connection, error) { return t, nil }

// SessionID is empty: the socket is the session.
func (t *socketTransport) SessionID() string { return "" }

// begin says that a message comes in: what it takes is not given back before it is read.
func (t *socketTransport) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reading = true
}

// asked counts a request of so many bytes, which was read.
func (t *socketTransport) asked(bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reading = false
	t.unanswered++
	t.bytes += bytes
}

// told is asked for what needs no answer.
func (t *socketTransport) told() {
	t.mu.Lock()
	t.reading = false
	t.mu.Unlock()
	t.settle()
}

// replied counts an answer. What the requests take is given back when all are answered.
func (t *socketTransport) replied() {
	t.mu.Lock()
	if t.unanswered--; t.unanswered <= 0 {
		t.unanswered, t.bytes = 0, 0
	}
	close(t.answered)
	t.answered = make(chan struct{})
	t.mu.Unlock()
	t.settle()
}

// settle gives back what messages have taken, unless some are still to be read or answered.
func (t *socketTransport) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.unanswered == 0 && !t.reading {
		t.body.giveBack()
	}
}

// waits waits until more may be asked. It returns what is still to be answered, in bytes.
func (t *socketTransport) waits(ctx context.Context) (unanswered int, err error) {
	for {
		t.mu.Lock()
		unanswered = t.bytes
		full, answered := t.unanswered >= maxUnanswered || t.bytes >= maxUnansweredBytes, t.answered
		t.mu.Unlock()
		if !full {
			return unanswered, nil
		}
		select {
		case <-answered:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Read returns the next message. What is none is answered here.
func (t *socketTransport) Read(ctx context.Context) (jsonrpc.Message, error) {
	for {
		unanswered, err := t.waits(ctx)
		if err != nil {
			return nil, err
		}
		t.body.owed = handling * unanswered
		kind, r, err := t.ws.Reader(ctx)
		if err == nil && kind == websocket.MessageText {
			t.begin()
			err = t.body.collect(r)
		}
		switch {
		case websocket.CloseStatus(err) != -1, errors.Is(err, io.EOF):
			return nil, io.EOF
		case err != nil:
			return nil, err
		case kind != websocket.MessageText:
			_ = t.ws.Close(websocket.StatusUnsupportedData, "messages must be text")
			return nil, io.EOF
		}
		text := t.body.text
		t.body.text = nil
		message, err := jsonrpc.DecodeMessage(text)
		if request, ok := message.(*jsonrpc.Request); err == nil && ok && request.IsCall() {
			t.asked(len(text))
		} else {
			t.told()
		}
		if err == nil {
			return message, nil
		}
		code, problem := mcp.CodeInvalidRequest, "the text is not one JSON-RPC message"
		if !json.Valid(text) {
			code, problem = mcp.CodeParseError, "the text is not JSON"
		}
		if err := t.write(ctx, bytes.TrimSuffix(mcp.AppendError(nil, nil, code, problem), []byte("\n"))); err != nil {
			return nil, err
		}
	}
}

func (t *socketTransport) Write(ctx context.Context, message jsonrpc.Message) error {
	text, err := jsonrpc.EncodeMessage(message)
	if err != nil {
		return err
	}
	if _, ok := message.(*jsonrpc.Response); ok {
		defer t.replied()
	}
	return t.write(ctx, text)
}

// write gives up on a client that does not read for writeTimeout.
func (t *socketTransport) write(ctx context.Context, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return t.ws.Write(ctx, websocket.MessageText, text)
}

func (t *socketTransport) Close() error {
	return t.ws.Close(websocket.StatusNormalClosure, "")
}
