package proxytest

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// Client is a connection to the balancer. What fails in its methods ends the test.
type Client struct {
	T testing.TB
	*net.TCPConn
	Reader *bufio.Reader // of the connection: nothing else reads it
}

// NewClient makes a client of a connection, which ends with the test. Reading and writing fail when patience is over.
func NewClient(t testing.TB, conn net.Conn, patience time.Duration) *Client {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &Client{T: t, TCPConn: conn.(*net.TCPConn), Reader: bufio.NewReader(conn)}
}

// Ask sends a line and returns which FakeNode has answered with it. A refusal is no answer.
func (c *Client) Ask(line string) (node string) {
	c.T.Helper()
	c.Say(line + "\n")
	heard := c.Hear()
	node, echo, _ := strings.Cut(heard, ":")
	if echo != line {
		c.T.Fatalf("asked %q, heard %q", line, heard)
	}
	return node
}

// Answer reads the response to a request of a method, with its body.
func (c *Client) Answer(method string) (*Reply, string) {
	c.T.Helper()
	resp, err := http.ReadResponse(c.Reader, &http.Request{Method: method})
	if err != nil {
		c.T.Fatalf("no response: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.T.Fatalf("response %s with body %q: %v", resp.Status, body, err)
	}
	return ReplyOf(resp), string(body)
}

// Denied reads a response of the balancer itself, which must have a status, and returns its JSON-RPC error code.
func (c *Client) Denied(status int) (code int) {
	c.T.Helper()
	resp, body := c.Answer("POST")
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/json" {
		c.T.Fatalf("got %s, %q, want %d", resp.Status, body, status)
	}
	var e mcp.Envelope
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error == nil || e.JSONRPC != "2.0" {
		c.T.Fatalf("body %q: %v", body, err)
	}
	return e.Error.Code
}

// Ended requires that the connection has ended, in good order and with nothing before its end.
func (c *Client) Ended() {
	c.T.Helper()
	if rest, err := io.ReadAll(c.Reader); err != nil || len(rest) > 0 {
		c.T.Fatalf("instead of the end: %q, %v", rest, err)
	}
}

// Say writes.
func (c *Client) Say(text string) {
	c.T.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.T.Fatal(err)
	}
}

// Hear reads a line, and returns it without its end.
func (c *Client) Hear() string {
	c.T.Helper()
	line, err := c.Reader.ReadString('\n')
	if err != nil {
		c.T.Fatalf("heard %q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// Refusal reads the error line and the end that must follow.
func (c *Client) Refusal() (code int, retryAfterMs int64) {
	c.T.Helper()
	var reply struct {
		Error struct {
			Code int
			Data struct{ RetryAfterMs int64 }
		}
	}
	if err := json.Unmarshal([]byte(c.Hear()), &reply); err != nil {
		c.T.Fatal(err)
	}
	if rest, err := io.ReadAll(c.Reader); err != nil || len(rest) > 0 {
		c.T.Fatalf("after the refusal: %q, %v", rest, err)
	}
	return reply.Error.Code, reply.Error.Data.RetryAfterMs
}
