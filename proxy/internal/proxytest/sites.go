package proxytest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// StartSite runs an HTTP server as a node.
func StartSite(t testing.TB, h http.HandlerFunc) (address string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Reply is a response without its body, which was read.
type Reply struct {
	StatusCode int
	Status     string
	Header     http.Header
	Close      bool
}

// ReplyOf is what stays of a response.
func ReplyOf(r *http.Response) *Reply { return &Reply{r.StatusCode, r.Status, r.Header, r.Close} }

// StartScript runs a node that answers each head it reads on a connection with the next of answers, whatever they are,
// and closes that after the last.
func StartScript(t testing.TB, answers ...string) *FakeNode {
	return StartNode(t, "", func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		for _, a := range answers {
			if _, err := ReadHead(r); err != nil {
				return
			}
			if _, err := io.WriteString(c, a); err != nil {
				return
			}
		}
	})
}

// ReadHead reads up to an empty line, and returns that too.
func ReadHead(r *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			return head.String(), err
		}
	}
}

// GetRequest is a whole request without a body.
const GetRequest = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

// PostRequest is a whole request with a body of two bytes.
const PostRequest = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"

// Hello answers with a word.
func Hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// ToolCall is a request that calls a tool, under a revision of the protocol.
func ToolCall(version, tool string) string {
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`
	return fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: h\r\nMCP-Protocol-Version: %s\r\nMcp-Method: tools/call\r\nMcp-Name: %s\r\nContent-Length: %d\r\n\r\n%s", version, tool, len(body), body)
}

// StartSocketEcho is a node that sends every message back.
func StartSocketEcho(t testing.TB) (address string) {
	return StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		c.SetReadLimit(1 << 20)
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	})
}
