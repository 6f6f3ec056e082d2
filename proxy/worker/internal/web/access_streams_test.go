package web

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// wantWhole asserts that a line is about all of an exchange that went on for held after its head.
func wantWhole(b *bench, l proxytest.AccessLine, held time.Duration) {
	b.T.Helper()
	total := b.Board.NodeTotals(0)
	if uint64(l.In) != total.BytesIn || uint64(l.Out) != total.BytesOut {
		b.T.Errorf("%d bytes in and %d out, want %d and %d", l.In, l.Out, total.BytesIn, total.BytesOut)
	}
	if l.Response <= 0 || l.Duration-l.Response < held.Microseconds() {
		b.T.Errorf("the head came after %d µs of %d, but was followed by %v", l.Response, l.Duration, held)
	}
}

func TestAccessLogOfWebSockets(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{proxytest.StartSocketEcho(t)}, func(s *proxy.Spec) { s.AccessLog.File = path })
	c := b.Socket(ctx)
	opened := time.Now()
	const size = 3000
	for range 3 {
		if err := c.Write(ctx, websocket.MessageBinary, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || len(got) != size {
			t.Fatal(len(got), err)
		}
	}
	held := time.Since(opened)
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	l := b.ReadAccess(path, 1)[0] // one line, at the end
	if l.Status != http.StatusSwitchingProtocols || l.Path != "/mcp/ws" || l.Reason != "" || l.In < 3*size || l.Out < 3*size {
		t.Errorf("line %+v", l)
	}
	wantWhole(b, l, held)
}

func TestAccessLogOfEventStreams(t *testing.T) {
	const events = 5
	path := filepath.Join(t.TempDir(), "access.log")
	event := "data: " + strings.Repeat("x", 1000) + "\n\n"
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range events {
			_, _ = io.WriteString(w, event)
			_ = http.NewResponseController(w).Flush()
		}
		if r.URL.Path == "/left" {
			<-r.Context().Done()
		}
	})}, func(s *proxy.Spec) { s.AccessLog.File = path })
	var in, out int
	for i, who := range []string{"/ends", "/left"} { // the node ends the stream, or the client leaves it
		resp, err := b.Browser().Get("http://" + b.Web + who)
		if err != nil {
			t.Fatal(err)
		}
		opened := time.Now()
		if _, err := io.ReadFull(resp.Body, make([]byte, events*len(event))); err != nil {
			t.Fatal(err)
		}
		held := time.Since(opened)
		if who == "/ends" {
			held = 0 // nobody knows how long that one went on
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
				t.Errorf("instead of the end: %q, %v", rest, err) // whoever goes before it has left
			}
		}
		resp.Body.Close()
		l := b.ReadAccess(path, i+1)[i]
		if l.Status != http.StatusOK || l.Path != who || l.Reason != []string{"", "client_gone"}[i] || l.Out < events*len(event) {
			t.Errorf("line %+v", l)
		}
		l.In, l.Out = l.In+in, l.Out+out
		wantWhole(b, l, held)
		in, out = l.In, l.Out // what the node counts began with the first stream
	}
}
