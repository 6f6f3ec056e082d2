package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
)

// site is a node that answers every request at once.
type site struct{ http, check int } // ports on 127.0.0.1

func (s site) address() string { return fmt.Sprintf("127.0.0.1:%d", s.http) }

// startSites runs four sites in one process until the benchmark ends.
func startSites(t testing.TB) []site {
	sites := make([]site, 4)
	cmd := playRole("sites", strconv.Itoa(2*len(sites)))
	cmd.Stderr = os.Stderr
	port := func() int {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		file, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		return ln.Addr().(*net.TCPAddr).Port
	}
	for i := range sites {
		sites[i] = site{http: port(), check: port()}
	}
	err := cmd.Start()
	for _, file := range cmd.ExtraFiles {
		file.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return sites
}

func init() {
	benchRoles["sites"] = benchSites
}

// benchSites serves the listeners that were passed on, all on one event loop: beside what is measured,
// the nodes should cost little.
func benchSites(args []string) error {
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

func (c *benchSiteConn) OnEOF(*reactor.Conn)          { c.conn.Close() }
func (c *benchSiteConn) OnOpen(*reactor.Conn)         {}
func (c *benchSiteConn) OnDrained(*reactor.Conn)      {}
func (c *benchSiteConn) OnClose(*reactor.Conn, error) {}
