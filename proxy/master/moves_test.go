package master

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

var moveRequests = flag.Int("moves.requests", 400, "requests in TestNobodyIsLostWhileNodesMove")

// askers are clients that ask one after the other, all the time.
type askers struct {
	asked, failed atomic.Int64
	first         atomic.Value // why a request failed first
	leave         chan struct{}
	left          sync.WaitGroup
}

// keepAsking has n clients ask until they are dismissed, each with a connection of its own. Every answer is to be
// 200 and "hello".
func keepAsking(n int, ask func(*http.Client) (*http.Response, error)) *askers {
	c := &askers{leave: make(chan struct{})}
	for range n {
		c.left.Go(func() {
			browser := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
			defer browser.CloseIdleConnections()
			for {
				select {
				case <-c.leave:
					return
				default:
				}
				if err := hear(ask(browser)); err != nil {
					c.failed.Add(1)
					c.first.CompareAndSwap(nil, err.Error())
				}
				c.asked.Add(1)
			}
		})
	}
	return c
}

func hear(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(text) != "hello") {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return err
}

// dismiss ends the questions, of which none may have failed.
func (c *askers) dismiss(t testing.TB) {
	t.Helper()
	close(c.leave)
	c.left.Wait()
	if n := c.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the first with: %v", n, c.asked.Load(), c.first.Load())
	}
}

// Clients ask all the time while a name moves, a file of nodes grows and shrinks, and the authority of nodes over TLS
// changes beside plain ones: nobody is turned away, and every node has served.
//
//	go test ./proxy/master -run TestNobodyIsLostWhileNodesMove -v -moves.requests 10000
func TestNobodyIsLostWhileNodesMove(t *testing.T) {
	var served [6]atomic.Int64
	site := func(i int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { served[i].Add(1); _, _ = io.WriteString(w, "hello") }
	}
	first := proxytest.StartSite(t, site(0))
	_, port, _ := net.SplitHostPort(first)
	other, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.2", port))
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	second := &httptest.Server{Listener: other, Config: &http.Server{Handler: site(1)}}
	second.Start()
	t.Cleanup(second.Close)
	old, next := proxytest.NewAuthority(t), proxytest.NewAuthority(t)
	files := old.Files(nil)
	z := &zone{}
	z.set("moves.test", "127.0.0.1")
	z.set("localhost", "::1", "127.0.0.1")

	var nodes [5]topology.Node
	for i, url := range []string{
		"http://moves.test:" + port + "/mcp",
		"http://" + proxytest.StartSite(t, site(2)) + "/mcp",
		strings.Replace(proxytest.StartSecureSite(t, proxytest.ServerConfig(t, old.Issue("localhost", time.Hour)), site(3)), "127.0.0.1", "localhost", 1),
		"http://" + proxytest.StartSite(t, site(4)) + "/mcp",
		strings.Replace(proxytest.StartSecureSite(t, proxytest.ServerConfig(t, next.Issue("localhost", time.Hour)), site(5)), "127.0.0.1", "localhost", 1),
	} {
		nodes[i] = topology.Node{Name: "n" + strconv.Itoa(i), URL: url}.Complete()
	}
	file := filepath.Join(t.TempDir(), "nodes.json")
	list := func(nodes ...topology.Node) {
		text, err := json.Marshal(nodes)
		if err != nil {
			t.Fatal(err)
		}
		proxytest.Replace(t, file, text)
	}
	list(nodes[3], nodes[4])
	s := following(testSpec())
	s.Listen = proxy.Listen{HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0"}
	s.NodesFrom, s.NodeTLS = file, files
	s.Sticky.HTTP, s.Limits.MessagesPerSecond = proxy.StickyNone, 0
	s.Checks.GiveUp = 0 // who is not trusted any more brings to its end what is under way
	s.Nodes = nodes[:3]
	b := serveIn(t, z, s, nil)
	b.eventuallyState("n2", proxy.NodeUp)
	url := "http://" + b.address("http") + "/mcp"
	v := keepAsking(4, func(c *http.Client) (*http.Response, error) {
		return c.Post(url, "application/json", strings.NewReader(`{"jsonrpc":"2.0","method":"x","id":1}`))
	})
	trusted := [][]byte{old.PEM, bytes.Join([][]byte{old.PEM, next.PEM}, nil)}
	moves, lists := 0, 0
	for moves < 12 || v.asked.Load() < int64(*moveRequests) {
		at := []string{"127.0.0.2", "127.0.0.1"}[moves%2]
		z.set("moves.test", at)
		b.eventually("the move", func(s *proxy.Stats) bool {
			n := s.Node("n0")
			return n != nil && n.State == proxy.NodeUp && strings.HasPrefix(n.Transports[0].Found, at+":")
		})
		switch moves++; moves % 3 {
		case 1: // the authority of n4 comes and goes
			proxytest.Replace(t, files.CA, trusted[(moves/3+1)%2])
			want := []string{proxy.NodeUp, proxy.NodeSilent}[moves/3%2]
			b.eventually("n4 to be "+want, func(s *proxy.Stats) bool {
				n := s.Node("n4")
				return n == nil || n.State == want
			})
		case 2:
			lists++
			n := 1 + lists%2
			list(nodes[3 : 3+n]...)
			b.eventually("the file to be taken", func(s *proxy.Stats) bool { return s.NodesFrom.Nodes == n })
		}
	}
	v.dismiss(t)
	for i := range served {
		if served[i].Load() == 0 {
			t.Errorf("site %d has served nobody", i)
		}
	}
	t.Logf("%d requests, %d moves and %d files without a failure", v.asked.Load(), moves, lists)
}
