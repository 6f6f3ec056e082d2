package worker

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// A client of an SDK opens a connection for each call under way. One burst of it is spread, and neither
// refused nor a reason for a ban.
func TestABurstIsSpread(t *testing.T) {
	const calls = 300
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Mcp-Session-Id", "s")
				fmt.Fprint(w, "{}")
			})
			b := startWorker(t, []string{site}, nil)
			_, port, _ := net.SplitHostPort(map[string]string{"http": b.Web, "https": b.Secure}[scheme])
			transport := &http.Transport{MaxIdleConnsPerHost: calls, TLSClientConfig: proxytest.Trusting(proxytest.LocalPair())}
			t.Cleanup(transport.CloseIdleConnections)
			browser := &http.Client{Transport: transport, Timeout: 30 * time.Second}
			post := func(session string) (status int, its string, err error) {
				r, _ := http.NewRequest(http.MethodPost, scheme+"://127.0.0.1:"+port+"/mcp", strings.NewReader("{}"))
				if session != "" {
					r.Header.Set("Mcp-Session-Id", session)
				}
				resp, err := browser.Do(r)
				if err != nil {
					return 0, "", err
				}
				defer resp.Body.Close()
				_, err = io.Copy(io.Discard, resp.Body)
				return resp.StatusCode, resp.Header.Get("Mcp-Session-Id"), err
			}
			_, session, err := post("")
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for range calls {
				all.Go(func() {
					if status, _, err := post(session); err != nil || status != http.StatusOK {
						t.Error(status, err)
					}
				})
			}
			all.Wait()
			if b.Banned("127.0.0.1") || b.Refused(board.ReasonRate) != 0 || b.Refused(board.ReasonMessageRate) != 0 {
				t.Errorf("banned: %v, refused %d and %d", b.Banned("127.0.0.1"), b.Refused(board.ReasonRate), b.Refused(board.ReasonMessageRate))
			}
			b.Eventually("nothing to be held", func() (none bool) {
				b.On(func() { none = b.Held == 0 })
				return none
			})
		})
	}
}

// Over TCP likewise.
func TestABurstIsSpreadOverTCP(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond = 20 })
	var all []*proxytest.Client
	for range 50 {
		all = append(all, b.Dial(""))
	}
	for _, c := range all {
		c.Say("x\n")
		if got := c.Hear(); got != "a:x" {
			t.Fatal(got)
		}
	}
	if b.Banned("127.0.0.1") || b.Refused(board.ReasonRate) != 0 || b.Cell.Throttles.Load() == 0 {
		t.Errorf("%d refused, %d held", b.Refused(board.ReasonRate), b.Cell.Throttles.Load())
	}
}

// What is held is bounded for each source, and in each worker.
func TestHeldConnectionsAreBounded(t *testing.T) {
	n := proxytest.StartNode(t, "a", nil)
	t.Run("source", func(t *testing.T) {
		b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond = 1 })
		for range 20 {
			b.Dial("")
		}
		b.Eventually("the others to be refused", func() bool { return b.Refused(board.ReasonRate) >= 13 })
		b.On(func() {
			if b.Held > 5 {
				t.Errorf("%d are held", b.Held)
			}
		})
		if b.Banned("127.0.0.1") {
			t.Error("banned")
		}
	})
	t.Run("worker", func(t *testing.T) {
		b := startWorker(t, []string{n.Address()}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond = 2 })
		b.On(func() { b.Max = 40 })
		for i := range 8 {
			for range 4 {
				b.Dial(fmt.Sprintf("127.0.5.%d", i+1))
			}
		}
		b.Eventually("some to be refused", func() bool { return b.Refused(board.ReasonRate) >= 1 })
		b.On(func() {
			if b.Held > 10 {
				t.Errorf("%d are held", b.Held)
			}
		})
	})
}

// Clients that go while they are held leave nothing behind.
func TestHeldClientsMayGo(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond = 2 })
	for _, address := range []string{b.Address, b.Web, b.Secure} {
		for range 4 {
			b.DialTo(address, "").Close()
		}
	}
	b.Eventually("all to be gone", func() (gone bool) {
		b.On(func() { gone = b.Held == 0 && b.Open == 0 })
		return gone
	})
}

// Somebody who goes on is banned, and the log says who, why and how to lift it.
func TestWhoGoesOnIsBanned(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) {
		s.Limits.ConnectionsPerSecond = 2
		s.Limits.Ban = proxy.Ban{Violations: 5, Window: 10 * time.Second, For: time.Minute}
	})
	var lines proxytest.SyncBuffer
	b.On(func() { b.Log = log.New(&lines) })
	start := time.Now()
	b.Eventually("the ban", func() bool {
		b.Visit()
		return b.Banned("127.0.0.1")
	})
	if took := time.Since(start); took < 3*board.ViolationStep {
		t.Errorf("banned within %v", took)
	}
	for _, want := range []string{"banned", "source=127.0.0.1", "for=1m0s", "over the rate of connections", "erlmcp lb ban remove 127.0.0.1"} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, lines.String())
		}
	}
	if got := strings.Count(lines.String(), "\n"); got != 1 {
		t.Errorf("%d lines:\n%s", got, lines.String())
	}
}

// A ban leaves streams and connections that are under way alone.
func TestABanKeepsStreams(t *testing.T) {
	more := make(chan struct{})
	b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range more {
			fmt.Fprint(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
		}
	})}, nil)
	c := b.Visit()
	c.Say(proxytest.GetRequest)
	more <- struct{}{}
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b.On(func() {
		s, now := b.Board.Sources(), b.Loop.Now()
		s.Ban(s.Find(netip.MustParseAddr("127.0.0.1"), now), now+int64(time.Minute))
	})
	more <- struct{}{}
	close(more)
	if got, err := io.ReadAll(resp.Body); err != nil || strings.Count(string(got), "data:") != 2 {
		t.Errorf("%q, %v", got, err)
	}
}

// The machine itself is exempt if nothing else is said, and no other address of it.
func TestTheMachineIsExempt(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, func(s *proxy.Spec) {
		s.Limits = proxy.Default().Limits
		s.Limits.ConnectionsPerSecond = 1
	})
	for range 20 {
		c := b.Dial("")
		c.Say("x\n")
		if got := c.Hear(); got != "a:x" {
			t.Fatal(got)
		}
	}
	if n := b.Cell.Throttles.Load(); n != 0 {
		t.Errorf("%d were held", n)
	}
	for range 2 {
		c := b.Dial("127.1.0.1")
		c.Say("x\n")
		c.Hear()
	}
	if n := b.Cell.Throttles.Load(); n != 1 {
		t.Errorf("%d of another address were held", n)
	}
}
