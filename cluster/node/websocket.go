package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/coder/websocket"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/pages"
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
	defer transport.body.release()
	session, err := s.server.Connect(r.Context(), transport, nil)
	if err != nil {
		_ = ws.CloseNow()
		return
	}
	_ = session.Wait() // why it has ended is the client's affair
}

// socketTransport is an sdk.Transport, and its own sdk.Connection, over a WebSocket.
type socketTransport struct {
	*backlog // its body is what comes in, too
	ws       *websocket.Conn
}

func newSocketTransport(ctx context.Context, ws *websocket.Conn, all *bodies) *socketTransport {
	t := &socketTransport{newBacklog(all.message(ctx)), ws}
	context.AfterFunc(t.body.ctx, func() { _ = ws.CloseNow() })
	return t
}

func (t *socketTransport) Connect(context.Context) (sdk.Connection, error) { return t, nil }

// SessionID is empty: the socket is the session.
func (t *socketTransport) SessionID() string { return "" }

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
		message, problem := t.decode()
		if message != nil {
			return message, nil
		}
		if err := t.write(ctx, problem); err != nil {
			return nil, err
		}
	}
}

// decode takes the text that has come in. What is no message is told by a problem, the answer to it.
func (t *socketTransport) decode() (message jsonrpc.Message, problem []byte) {
	text := t.body.take()
	defer pages.Free(text) // a message has copies
	message, err := jsonrpc.DecodeMessage(text)
	if isCall(message) {
		t.asked(len(text))
	} else {
		t.told()
	}
	switch {
	case err == nil:
		return message, nil
	case json.Valid(text):
		problem = mcp.AppendError(nil, nil, mcp.CodeInvalidRequest, "the text is not one JSON-RPC message")
	default:
		problem = mcp.AppendError(nil, nil, mcp.CodeParseError, "the text is not JSON")
	}
	return nil, bytes.TrimSuffix(problem, []byte("\n"))
}

func (t *socketTransport) Write(ctx context.Context, message jsonrpc.Message) error {
	return t.send(message, func(text []byte) error { return t.write(ctx, text) })
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
