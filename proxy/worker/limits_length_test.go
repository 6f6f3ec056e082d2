package worker

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// debt is for how many messages a source was charged that was at rest: no less than it is found to owe now, and no more than if
// all were charged at this moment.
func debt(b *bench, source string, since int64) (least, most float64) {
	b.On(func() {
		s := b.Board.Sources()
		tat := s.MessageRate(s.Find(netip.MustParseAddr(source), mono.Now())).Load()
		interval := float64(b.Limits.Message.Interval)
		least, most = float64(tat-mono.Now())/interval, float64(tat-since)/interval
	})
	return least, most
}

// What is long is charged as many messages, however it comes, but no single one for more than a source may be held.
func TestLongMessagesCountForMore(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.Copy(io.Discard, r.Body)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		c.SetReadLimit(-1)
		for {
			kind, _, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, []byte("{}")) != nil {
				return
			}
		}
	})
	const rate = 4
	most := int(policy.MaxHeldTime / time.Second * rate)
	limited := func(s *proxy.Spec) { s.Limits.MessagesPerSecond = rate }
	lines := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, limited)
	b := startWorker(t, []string{site}, limited)
	ways := map[string]func(from, text string){
		"a line": func(from, text string) {
			c := lines.Dial(from)
			c.Say(text + "\n")
			c.Hear()
		},
		"a body": func(from, text string) {
			c := b.DialTo(b.Web, from)
			c.Say(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(text), text))
			c.Answer("POST")
		},
		"a body in chunks": func(from, text string) {
			c := b.DialTo(b.Web, from)
			c.Say("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
			for p := []byte(text); len(p) > 0; {
				n := min(len(p), 5000)
				c.Say(string(http1.AppendChunk(nil, p[:n])))
				p = p[n:]
			}
			c.Say(http1.LastChunk)
			c.Answer("POST")
		},
		"a frame": func(from, text string) { sayInFrames(ctx, b, from, text, len(text)) },
		"frames":  func(from, text string) { sayInFrames(ctx, b, from, text, 5000) },
	}
	from := netip.MustParseAddr("127.0.1.1")
	for way, say := range ways {
		for length, want := range map[int]int{
			100: 1, policy.ExtraLength - 2: 1, policy.ExtraLength: 2, 3 * policy.ExtraLength: 4, (most + 40) * policy.ExtraLength: 1 + most,
		} {
			if !strings.HasPrefix(way, "a body") && length > 3*policy.ExtraLength {
				continue // the rest is read when what was read is paid for
			}
			from = from.Next()
			began := mono.Now()
			say(from.String(), `"`+strings.Repeat("x", length-2)+`"`)
			upgrade := 0
			if strings.Contains(way, "frame") {
				upgrade = 1 // it is a request
			}
			owner := b
			if way == "a line" {
				owner = lines
			}
			if least, most := debt(owner, from.String(), began); float64(want+upgrade) < least || float64(want+upgrade) > most {
				t.Errorf("%s of %d bytes: charged as %.2f to %.2f, want %d", way, length, least, most, want+upgrade)
			}
		}
	}
}

// sayInFrames says a text over a WebSocket, in frames of some bytes each.
func sayInFrames(ctx context.Context, b *bench, from, text string, each int) {
	b.T.Helper()
	dialer := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return b.DialTo(b.Web, from).TCPConn, nil
	}}}
	c, _, err := websocket.Dial(ctx, "ws://"+b.Web+"/mcp/ws", &websocket.DialOptions{HTTPClient: &dialer}) //nolint:bodyclose // it is the socket's
	if err != nil {
		b.T.Fatal(err)
	}
	b.T.Cleanup(func() { _ = c.CloseNow() })
	w, err := c.Writer(ctx, websocket.MessageText)
	if err != nil {
		b.T.Fatal(err)
	}
	for p := []byte(text); len(p) > 0; {
		n := min(len(p), each)
		if _, err := w.Write(p[:n]); err != nil {
			b.T.Fatal(err)
		}
		p = p[n:]
	}
	if err := w.Close(); err != nil {
		b.T.Fatal(err)
	}
	if _, _, err := c.Read(ctx); err != nil {
		b.T.Fatal(err)
	}
}
