package hubtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/internal/wire"
)

// A script is what an event stream of a node says: each piece is written at once, and after the last of
// them nothing more comes until the client has gone.
const (
	WholeEvent = "event: message\ndata: {}\n\n"
	HalfEvent  = "event: message\ndata: {}\n"
)

// StartTalker is a node of all transports. Under /mcp it answers with an event stream that says the
// value of the query "say", flushed, and then waits for a piece more on more and ends; under /silent it
// never answers; under /mcp/ws it sends messages back.
func StartTalker(t testing.TB, more <-chan string) (address string) {
	return proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/silent":
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		case "/mcp/ws":
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			for {
				kind, data, err := c.Read(r.Context())
				if err != nil || c.Write(r.Context(), kind, data) != nil {
					return
				}
			}
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, r.URL.Query().Get("say"))
			_ = http.NewResponseController(w).Flush()
			select {
			case piece := <-more:
				_, _ = io.WriteString(w, piece)
			case <-r.Context().Done():
			}
		}
	})
}

// Stream opens an event stream that begins with what the node is to say, and reads that.
func (b *Bench) Stream(method, version, say string) (body io.ReadCloser, c *proxytest.Client) {
	b.T.Helper()
	c = b.Visit()
	target := "/mcp?say=" + strings.NewReplacer("\n", "%0A", " ", "%20").Replace(say)
	c.Say(method + " " + target + " " + version + "\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil {
		b.T.Fatal(err)
	}
	b.T.Cleanup(func() { resp.Body.Close() })
	got := make([]byte, len(say))
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != say {
		b.T.Fatalf("%q, %v", got, err)
	}
	return resp.Body, c
}

// Visit connects an HTTP client that speaks raw.
func (b *Bench) Visit() *proxytest.Client { b.T.Helper(); return b.DialTo(b.Web, "") }

// Browser is an HTTP client with connections of its own.
func (b *Bench) Browser() *http.Client {
	transport := &http.Transport{ExpectContinueTimeout: 10 * time.Second}
	b.T.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// Refused is how many were refused for a reason.
func (b *Bench) Refused(r board.Reason) uint64 { return b.Cell.Refused[r].Load() }

// Cuts is how many were cut for a reason.
func (b *Bench) Cuts(r board.Reason) uint64 { return b.Cell.Cut[r].Load() }

// Socket opens a WebSocket.
func (b *Bench) Socket(ctx context.Context) *websocket.Conn {
	b.T.Helper()
	c, _, err := websocket.Dial(ctx, "ws://"+b.Web+"/mcp/ws", nil) //nolint:bodyclose // it is the socket's
	if err != nil {
		b.T.Fatal(err)
	}
	b.T.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(1 << 20)
	return c
}

// ReadAccess waits until the log has that many lines and reads them, strictly.
func (b *Bench) ReadAccess(path string, count int) []proxytest.AccessLine {
	b.T.Helper()
	var text []byte
	b.Eventually("the lines of the access log", func() bool {
		text, _ = os.ReadFile(path)
		return bytes.Count(text, []byte("\n")) >= count
	})
	lines := make([]proxytest.AccessLine, 0, count)
	for line := range bytes.Lines(text) {
		var l proxytest.AccessLine
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			b.T.Fatalf("%s: %v", line, err)
		}
		lines = append(lines, l)
	}
	if len(lines) != count {
		b.T.Fatalf("%d lines, want %d:\n%s", len(lines), count, text)
	}
	return lines
}

// Respec has the worker take over a spec, as a reload does.
func (b *Bench) Respec(s proxy.Spec, slots ...wire.NodeSlot) {
	b.On(func() {
		if err := b.Apply(wire.WorkerSpec{Spec: s, Nodes: slots, MaxConnections: 1000, Key: make([]byte, affinity.MinKey)}); err != nil {
			b.T.Error(err)
		}
	})
}
