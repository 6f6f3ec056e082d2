package worker

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// What slow senders and slow readers have in hand is bounded, and those go who hold most.
func TestWhatIsInHandIsBounded(t *testing.T) {
	much := make([]byte, 64<<20)
	site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/much" {
			_, _ = w.Write(much)
			return
		}
		fmt.Fprint(w, "hi")
	})
	head := "GET / HTTP/1.1\r\nHost: h\r\n"
	for name, say := range map[string]string{
		"slow heads":   head + strings.Repeat("X: "+strings.Repeat("x", 4000)+"\r\n", 4),
		"slow readers": "GET /much HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := startWorker(t, []string{site}, func(s *proxy.Spec) {
				proxytest.WithoutLimits(s)
				s.Limits.ConnectionsPerSecond = 0
			})
			const budget = 1 << 20
			b.On(func() { b.Budget = budget })
			small := b.DialTo(b.Web, "127.0.8.2")
			small.Say(head)
			for i := range 100 {
				b.DialTo(b.Web, fmt.Sprintf("127.0.8.%d", 100+i%2)).Say(say)
			}
			b.Eventually("the others to give way", func() bool { return b.Cuts(board.ReasonGaveWay) > 0 })
			b.Eventually("the rest to be within the budget", func() (ok bool) {
				b.On(func() { ok = b.Loop.Held() <= budget })
				return ok
			})
			small.Say("\r\n")
			resp, err := http.ReadResponse(small.Reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "hi" {
				t.Error(string(text), err)
			}
		})
	}
	t.Run("lines that nobody takes", func(t *testing.T) {
		node := proxytest.StartNode(t, "", func(c *net.TCPConn) { _, _ = c.Write(much) })
		b := startWorker(t, []string{node.Address()}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond = 0 })
		b.On(func() { b.Budget = 1 << 20 })
		for range 60 {
			b.Dial("127.0.8.1")
		}
		b.Eventually("some to give way", func() bool { return b.Cuts(board.ReasonGaveWay) > 0 })
		b.Eventually("the rest to be within the budget", func() (ok bool) {
			b.On(func() { ok = b.Loop.Held() <= b.Budget })
			return ok
		})
	})
}
