package proxytest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/reactor"
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

// EchoWebSocket serves a WebSocket that says what it hears.
func EchoWebSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(1 << 20)
	for {
		kind, data, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, data) != nil {
			return
		}
	}
}

// StartSocketEcho is a node of such WebSockets.
func StartSocketEcho(t testing.TB) (address string) { return StartSite(t, EchoWebSocket) }

// Site is a node that answers every request at once.
type Site struct{ HTTP, Check int } // ports on 127.0.0.1

// Address is where it serves HTTP.
func (s Site) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.HTTP) }

// StartSites runs four sites in one process until the benchmark ends.
func StartSites(t testing.TB) []Site {
	sites := make([]Site, 4)
	var ports []*int
	for i := range sites {
		ports = append(ports, &sites[i].HTTP, &sites[i].Check)
	}
	Hold(t, PlayRole("sites", strconv.Itoa(len(ports))), ports...)
	return sites
}

// serveSites serves the listeners that were passed on, all on one event loop: beside what is measured,
// the nodes should cost little.
func serveSites(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	loop, err := reactor.NewLoop(reactor.Options{})
	if err != nil {
		return err
	}
	for i := range n {
		body := fmt.Sprintf(`{"jsonrpc":"2.0","id":12345,"result":{"content":[{"type":"text","text":"hello from %d"}]}}`, i)
		s := &benchSite{loop: loop}
		s.answer = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if _, err := loop.Listen(3+i, s); err != nil {
			return err
		}
	}
	return loop.Run()
}

// benchSite answers every request alike.
type benchSite struct {
	loop   *reactor.Loop
	answer []byte
}

func (s *benchSite) OnAccept(fd int, _ netip.AddrPort) {
	c := &benchSiteConn{answer: s.answer}
	_ = s.loop.Attach(&c.conn, fd, c) // or it is closed
}

func (s *benchSite) OnAcceptError(err error) { fmt.Fprintln(os.Stderr, "sites:", err) }

type benchSiteConn struct {
	conn    reactor.Conn
	request http1.Request
	answer  []byte
}

// OnData answers requests whose bodies have a stated length and came whole.
func (c *benchSiteConn) OnData(_ *reactor.Conn, p []byte) (consumed int) {
	for {
		n, err := c.request.Parse(p[consumed:])
		if err != nil || n > 0 && c.request.Body == http1.Chunked {
			c.conn.Close()
			return len(p)
		}
		whole := n + int(c.request.Length)
		if n == 0 || consumed+whole > len(p) {
			return consumed
		}
		consumed += whole
		c.conn.Send(c.answer)
	}
}

func (c *benchSiteConn) OnEOF(*reactor.Conn) { c.conn.Close() }

func (c *benchSiteConn) OnOpen(*reactor.Conn) {}

func (c *benchSiteConn) OnDrained(*reactor.Conn) {}

func (c *benchSiteConn) OnClose(*reactor.Conn, error) {}
