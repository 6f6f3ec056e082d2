package healthcheck

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer serves each connection with one call of serve and returns its address. Connections close
// when serve returns, at the latest at the end of the test.
func peer(t testing.TB, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// answering replies to each line with a line, or not when reply returns "".
func answering(reply func(request string) string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		for lines := bufio.NewScanner(c); lines.Scan(); {
			if r := reply(lines.Text()); r != "" {
				say(c, r+"\n")
			}
		}
	}
}

// silent reads and never answers, as a frozen process seems to do.
func silent(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }

// readLine reads a request before something unfriendly is done.
func readLine(c *net.TCPConn) { _, _ = bufio.NewReader(c).ReadString('\n') }

// say sends text; whether the other side still listens shows elsewhere.
func say(c net.Conn, text string) { _, _ = io.WriteString(c, text) }

// closedPort is an address where nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

const notFound = `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}`

func TestProbes(t *testing.T) {
	const limit = 250 * time.Millisecond
	for _, c := range []struct {
		name, kind string
		serve      func(*net.TCPConn) // nil: nobody listens
		cause      Cause              // "": the check succeeds
		text       string             // the error, exactly
		detail     string
	}{
		{"listening", "tcp", silent, "", "", "map[]"},
		{"not listening", "tcp", nil, CauseRefused, "connection refused", "map[]"},
		{"not listening", "mcp", nil, CauseRefused, "connection refused", "map[]"},
		{
			"stateless server", "mcp",
			answering(func(string) string { return `{"jsonrpc":"2.0","id":1,"result":{}}` }),
			"", "", "map[era:stateless method:server/discover]",
		},
		{
			"session server", "mcp",
			answering(func(q string) string {
				if strings.Contains(q, `"ping"`) {
					return `{"jsonrpc":"2.0","id":2,"result":{}}`
				}
				return notFound
			}),
			"", "", "map[era:session method:ping]",
		},
		{
			"server with neither method", "mcp",
			answering(func(q string) string {
				if strings.Contains(q, `"ping"`) {
					return `{"error":{"code":-32601,"message":"no"},"id":2,"jsonrpc":"2.0"}`
				}
				return notFound
			}),
			"", "", "map[era:session error:no (JSON-RPC error -32601) method:ping]",
		},
		{
			"error is a reply", "mcp",
			answering(func(string) string { return `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"oops"}}` }),
			"", "", "map[era:stateless error:oops (JSON-RPC error -32603) method:server/discover]",
		},
		{
			"full server", "mcp",
			func(c *net.TCPConn) {
				say(c, `{"jsonrpc":"2.0","id":null,"error":{"code":-32018,"message":"full"}}`+"\n")
			},
			"", "", "map[refusal:full (JSON-RPC error -32018)]",
		},
		{
			"talkative server", "mcp",
			func(c *net.TCPConn) {
				say(c, "\r\n"+`{"jsonrpc":"2.0","method":"notifications/message","params":{}}`+"\n")
				readLine(c)
				say(c, `{"jsonrpc":"2.0","id":1,"result":{}}`+"\r\n")
			},
			"", "", "map[era:stateless method:server/discover]",
		},
		{
			"no newline at the end", "mcp",
			func(c *net.TCPConn) {
				readLine(c)
				say(c, `{"jsonrpc":"2.0","id":1,"result":{}}`)
			},
			"", "", "map[era:stateless method:server/discover]",
		},
		{
			"half-closed after the reply", "mcp",
			func(c *net.TCPConn) {
				readLine(c)
				say(c, `{"jsonrpc":"2.0","id":1,"result":{}}`+"\n")
				_ = c.CloseWrite()
				silent(c)
			},
			"", "", "map[era:stateless method:server/discover]",
		},
		{"frozen", "mcp", silent, CauseTimeout, "no reply within 250ms (frozen?)", "map[]"},
		{
			"frozen after the first reply", "mcp",
			answering(func(q string) string {
				if strings.Contains(q, `"ping"`) {
					return ""
				}
				return notFound
			}),
			CauseTimeout, "no reply within 250ms (frozen?)", "map[]",
		},
		{
			"stops in the middle", "mcp",
			func(c *net.TCPConn) {
				readLine(c)
				say(c, `{"jsonrpc":"2.0"`)
				silent(c)
			},
			CauseTimeout, "no complete reply within 250ms (16 bytes came)", "map[]",
		},
		{"half-closed", "mcp", func(c *net.TCPConn) { _ = c.CloseWrite(); silent(c) }, CauseClosed, "closed without a reply", "map[]"},
		{"closing", "mcp", readLine, CauseClosed, "closed without a reply", "map[]"},
		{
			"resetting", "mcp",
			func(c *net.TCPConn) {
				readLine(c)
				_ = c.SetLinger(0)
			},
			CauseReset, "connection reset", "map[]",
		},
		{
			"HTTP server", "mcp",
			answering(func(string) string { return "HTTP/1.1 400 Bad Request\r" }),
			CauseProtocol, "speaks HTTP, not newline-delimited JSON-RPC: write http instead of tcp", "map[]",
		},
		{
			"long garbage", "mcp",
			answering(func(string) string { return strings.Repeat("x", 50) }),
			CauseProtocol, `not JSON-RPC: "` + strings.Repeat("x", 40) + `"… (not JSON)`, "map[]",
		},
		{
			"JSON of another kind", "mcp",
			answering(func(string) string { return `{"ok":true}` }),
			CauseProtocol, `not JSON-RPC: "{\"ok\":true}" (no "jsonrpc":"2.0")`, "map[]",
		},
		{
			"reply to another request", "mcp",
			answering(func(string) string { return `{"jsonrpc":"2.0","id":"7","result":{}}` }),
			CauseProtocol, `a reply to another request: id "\"7\"", not 1`, "map[]",
		},
		{
			"endless line", "mcp",
			func(c *net.TCPConn) {
				for block := make([]byte, 64<<10); ; {
					if _, err := c.Write(block); err != nil {
						return
					}
				}
			},
			CauseProtocol, "no reply in the first 1024 KiB", "map[]",
		},
		{
			"endless notifications", "mcp",
			func(c *net.TCPConn) {
				line := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":%q}}`+"\n", strings.Repeat("x", 60<<10))
				for {
					if _, err := io.WriteString(c, line); err != nil {
						return
					}
				}
			},
			CauseProtocol, "no reply in the first 1024 KiB", "map[]",
		},
	} {
		t.Run(c.name+"/"+c.kind, func(t *testing.T) {
			t.Parallel()
			target := Target{Timeout: 10 * time.Second}
			if strings.Contains(c.text, "within") {
				target.Timeout = limit
			}
			if c.serve == nil {
				target.Address = closedPort(t)
			} else {
				target.Address = peer(t, c.serve)
			}
			probe, err := Lookup(c.kind)
			if err != nil {
				t.Fatal(err)
			}
			r := probe(context.Background(), target)
			if r.Kind != c.kind || r.OK != (c.cause == "") || r.Cause != c.cause || r.Error != c.text {
				t.Errorf("got %+v\nwant cause %q, error %q", r, c.cause, c.text)
			}
			if got := fmt.Sprint(r.Detail); got != c.detail {
				t.Errorf("detail %s, want %s", got, c.detail)
			}
			if r.OK != (r.Latency > 0) {
				t.Errorf("ok %v with latency %v", r.OK, r.Latency)
			}
			if !r.Conclusive() {
				t.Error("not conclusive")
			}
		})
	}
}

// TestSlowDrip has a server that sends without pause, but never a whole line: its limit holds for
// the probe, not for each byte.
func TestSlowDrip(t *testing.T) {
	addr := peer(t, func(c *net.TCPConn) {
		for {
			if _, err := c.Write([]byte{' '}); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond) // the pace of the peer
		}
	})
	started := time.Now()
	r := probeMCP(context.Background(), Target{Address: addr, Timeout: 100 * time.Millisecond})
	if r.OK || r.Cause != CauseTimeout || !strings.HasPrefix(r.Error, "no complete reply within 100ms (") {
		t.Errorf("got %+v", r)
	}
	if took := time.Since(started); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func TestNeverInitializes(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	addr := peer(t, answering(func(q string) string {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, q)
		return notFound
	}))
	probeMCP(context.Background(), Target{Address: addr})
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 2 || strings.Contains(strings.Join(asked, ""), "initialize") {
		t.Errorf("asked %q", asked)
	}
}

func TestProbeObeysContext(t *testing.T) {
	addr := peer(t, silent)

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	r := probeMCP(ctx, Target{Address: addr, Timeout: time.Hour})
	if r.Cause != CauseTimeout || r.Error != "no reply within 50ms (frozen?)" {
		t.Errorf("deadline: %+v", r)
	}

	ctx, cancel = context.WithCancel(context.Background())
	addr = peer(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1)) // the question
		cancel()
		silent(c)
	})
	r = probeMCP(ctx, Target{Address: addr, Timeout: time.Hour})
	if r.Cause != CauseCanceled || r.Error != "check canceled" || r.Conclusive() {
		t.Errorf("cancel during the reply: %+v", r)
	}
	if r = probeTCP(ctx, Target{Address: addr}); r.Cause != CauseCanceled {
		t.Errorf("cancel before: %+v", r)
	}
}

// TestFullBacklog has a listener whose queue is full: the kernel drops the handshake, as a host
// that is gone does.
func TestFullBacklog(t *testing.T) {
	addr := fullListener(t)
	r := probeMCP(context.Background(), Target{Address: addr, Timeout: 100 * time.Millisecond})
	if r.Cause != CauseUnreachable || r.Error != "no connection within 100ms" {
		t.Errorf("got %+v", r)
	}
}

func TestUnusableAddresses(t *testing.T) {
	for _, c := range []struct {
		address string
		cause   Cause
	}{
		{"127.0.0.1", CauseLocal},
		{"127.0.0.1:http-but-wrong", CauseResolve},
		{"no such host.invalid:1", CauseResolve},
	} {
		r := probeTCP(context.Background(), Target{Address: c.address})
		if r.OK || r.Cause != c.cause || r.Error == "" {
			t.Errorf("%s: %+v, want cause %s", c.address, r, c.cause)
		}
	}
}

func TestLookup(t *testing.T) {
	_, err := Lookup("smtp")
	if err == nil || err.Error() != `unknown check "smtp" (checks: http, icmp, mcp, tcp, tls)` {
		t.Errorf("error %v", err)
	}
}

func TestRunKeepsOrder(t *testing.T) {
	addr := peer(t, answering(func(string) string { return `{"jsonrpc":"2.0","id":1,"result":{}}` }))
	results := Run(context.Background(), []Check{{"mcp", Target{Address: addr}}, {"smtp", Target{}}, {"tcp", Target{Address: addr}}})
	var got strings.Builder
	for _, r := range results {
		fmt.Fprintf(&got, "%s %v %s\n", r.Kind, r.OK, r.Cause)
	}
	if want := "mcp true \nsmtp false local\ntcp true \n"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}
