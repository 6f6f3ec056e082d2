package worker

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// withRoom serves so many clients, without any other limit.
func withRoom(most int, change func(*proxy.Spec)) func(*proxy.Spec) {
	return func(s *proxy.Spec) {
		proxytest.WithoutLimits(s)
		s.Limits.ConnectionsPerSecond, s.Limits.SharePercent, s.MaxConnections = 0, 100, most
		if change != nil {
			change(s)
		}
	}
}

// TestOneSourceHasAShare of the places, if nothing else is said, and a source that is exempt has none.
func TestOneSourceHasAShare(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	for name, test := range map[string]struct {
		change func(*proxy.Spec)
		served int
	}{
		"half":      {func(s *proxy.Spec) { s.Limits.SharePercent = proxy.Default().Limits.SharePercent }, 10},
		"raised":    {func(s *proxy.Spec) { s.Limits.SharePercent = 75 }, 15},
		"said":      {func(s *proxy.Spec) { s.Limits.MaxPerSource = 18 }, 18},
		"exempt":    {func(s *proxy.Spec) { s.Limits.SharePercent, s.Limits.Exempt = 50, []string{"127.0.8.1"} }, 20},
		"no limits": {nil, 20},
	} {
		t.Run(name, func(t *testing.T) {
			b := startWorker(t, []string{n.Address()}, withRoom(20, test.change))
			for i := range test.served {
				c := b.Dial("127.0.8.1")
				c.Say("x\n")
				if got := c.Hear(); got != "a:x" {
					t.Fatalf("connection %d: %s", i, got)
				}
			}
			want := board.ReasonPerSource
			if test.served == 20 {
				want = board.ReasonFull
			}
			if code, _ := b.Dial("127.0.8.1").Refusal(); b.Refused(want) != 1 {
				t.Errorf("one more is refused with %d, %d times for %v", code, b.Refused(want), want)
			}
			if test.served < 20 {
				c := b.Dial("127.0.8.2")
				c.Say("x\n")
				c.Hear()
			}
		})
	}
}

// Where all places are taken, the source that holds most gives way, with the connection that rests longest, and with a
// reason.
func TestWhoHoldsMostGivesWay(t *testing.T) {
	const most = 30
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, withRoom(most, func(s *proxy.Spec) { s.AccessLog.File = path }))
	ask := func(c *proxytest.Client) {
		t.Helper()
		c.Say("x\n")
		if got := c.Hear(); got != "a:x" {
			t.Fatal(got)
		}
	}
	var crowd []*proxytest.Client
	for range most - 3 {
		c := b.Dial("127.0.8.1")
		ask(c)
		crowd = append(crowd, c)
	}
	var small []*proxytest.Client
	for range 3 {
		c := b.Dial("127.0.8.2")
		ask(c)
		small = append(small, c)
	}
	ask(crowd[0])
	ask(crowd[2]) // so that 1 rests longest, and then 3
	for i := range 22 {
		c := b.Dial(fmt.Sprintf("127.0.9.%d", i+1))
		ask(c)
		gone := crowd[1]
		if i > 0 && i < 20 {
			gone = crowd[i+2]
		}
		if i < 20 {
			if code, _ := gone.Refusal(); code != mcp.CodeUnavailable {
				t.Errorf("the one that made room for newcomer %d was told %d", i, code)
			}
		}
		b.On(func() {
			if n := b.Board.Active(); n != most {
				t.Errorf("%d are served, want %d", n, most)
			}
		})
	}
	for _, c := range small {
		ask(c)
	}
	if got := b.Cuts(board.ReasonGaveWay); got != 22 {
		t.Errorf("%d gave way, want 22", got)
	}
	b.On(func() { b.Access.Flush(b.Loop.Now()) })
	for _, l := range b.ReadAccess(path, 22) {
		if l.Reason != "gave_way" || l.Client != "127.0.8.1" {
			t.Errorf("%+v", l)
		}
	}
	// 3 are left of the one, and 3 of the other: whoever has one is refused a second only if nobody has more.
	ask(b.Dial("127.0.9.1"))
	for i := range 50 {
		c := b.Dial(fmt.Sprintf("127.0.10.%d", i+1))
		c.Say("x\n")
		if strings.HasPrefix(c.Hear(), `{"jsonrpc"`) {
			break
		}
	}
	if b.Refused(board.ReasonFull) == 0 {
		t.Error("equals take each other's places")
	}
}

// Connections over HTTP rest between two requests; streams and calls go only where nothing rests.
func TestWhatRestsOverHTTPGivesWay(t *testing.T) {
	release := make(chan struct{})
	site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/call":
			<-release
		case "/stream":
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, "hi")
	})
	path := filepath.Join(t.TempDir(), "access.log")
	b := startWorker(t, []string{site}, withRoom(4, func(s *proxy.Spec) { s.AccessLog.File = path }))
	get := func(from, path string) *proxytest.Client {
		c := b.DialTo(b.Web, from)
		c.Say("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
		return c
	}
	answer := func(c *proxytest.Client) string {
		t.Helper()
		resp, err := http.ReadResponse(c.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return string(text)
	}
	call := get("127.0.8.1", "/call")
	stream := get("127.0.8.1", "/stream")
	if line, err := stream.Reader.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatal(line, err)
	}
	rests := get("127.0.8.1", "/")
	answer(rests)
	silent := b.DialTo(b.Web, "127.0.8.1")
	b.Eventually("all to be in", func() bool { return b.Board.Active() == 4 })
	gone := func(c *proxytest.Client) {
		t.Helper()
		if _, err := io.ReadAll(c.Reader); err != nil {
			t.Fatal(err)
		}
	}
	for i, order := range []*proxytest.Client{rests, silent} {
		if got := answer(get(fmt.Sprintf("127.0.9.%d", i+1), "/")); got != "hi" {
			t.Fatal(got)
		}
		gone(order)
	}
	if b.Cuts(board.ReasonGaveWay) != 2 {
		t.Errorf("%d gave way", b.Cuts(board.ReasonGaveWay))
	}
	// Two are left to each: nobody has more by two than a newcomer with one.
	if got := answer(get("127.0.9.3", "/")); got != "hi" { // has none
		t.Fatal(got)
	}
	if rest, err := io.ReadAll(stream.Reader); err != nil || !bytes.HasSuffix(rest, []byte("data: 1\n\n\r\n0\r\n\r\n")) {
		t.Errorf("the stream ended with %q, %v", rest, err)
	}
	close(release)
	if got := answer(call); got != "hi" {
		t.Error(got)
	}
	b.On(func() { b.Access.Flush(b.Loop.Now()) })
	n := 0
	for _, l := range b.ReadAccess(path, 8) {
		if l.Reason == "gave_way" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d lines say that a connection gave way", n)
	}
}

// A client that takes nothing of its answer gives way at once.
func TestWhoTakesNothingGivesWay(t *testing.T) {
	site := proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 32<<20))
	})
	b := startWorker(t, []string{site}, withRoom(3, nil))
	for range 3 {
		c := b.DialTo(b.Web, "127.0.8.1")
		c.Say(proxytest.GetRequest)
		if _, err := c.Reader.Peek(1); err != nil {
			t.Fatal(err)
		}
	}
	c := b.DialTo(b.Web, "127.0.8.2")
	c.Say(proxytest.GetRequest)
	if line, err := c.Reader.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Error(line, err)
	}
	b.On(func() {
		if n := b.Board.Active(); n != 3 {
			t.Errorf("%d are served", n)
		}
	})
}

// A full worker, that nobody can help, likewise.
func TestAFullWorkerMakesRoom(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, withRoom(1000, nil))
	b.On(func() { b.Max = 10 })
	for range 10 {
		b.Dial("127.0.8.1")
	}
	b.Eventually("all to be in", func() bool { return b.Board.Active() == 10 })
	c := b.Dial("127.0.8.2")
	c.Say("x\n")
	if got := c.Hear(); got != "a:x" || b.Cuts(board.ReasonGaveWay) != 1 {
		t.Errorf("%s, %d gave way", got, b.Cuts(board.ReasonGaveWay))
	}
}

// A source that shares its slot is banned by its address, over HTTP and TCP, and those who share it are not.
func TestABanInASharedSlot(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, func(s *proxy.Spec) {
		s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond, s.Limits.Action = 0, 1, proxy.ActionReject
		s.Limits.Ban = proxy.Ban{Violations: 2, Window: time.Minute, For: time.Minute}
	})
	b.On(func() { // of others
		for i := range 3000 {
			s := b.Board.Sources()
			s.Enter(0, s.Find(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), b.Loop.Now()))
		}
	})
	c := b.Dial("127.0.8.1")
	b.Eventually("the ban", func() bool {
		c.Say("{\"id\":1,\"method\":\"x\"}\n")
		c.Hear()
		return b.Banned("127.0.8.1")
	})
	if b.Banned("127.0.8.2") {
		t.Error("another is banned")
	}
}
