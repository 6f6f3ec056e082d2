package proxy

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/topology"
)

var (
	reloadSockets = flag.Int("reload.sockets", 100, "open WebSockets in TestReloadUnderLoad")
	reloadTime    = flag.Duration("reload.time", time.Second, "how long wrk runs in TestReloadUnderLoad")
)

// TestReloadUnderLoad reloads again and again, with every kind of change that workers take over, while wrk
// asks over 64 kept connections and WebSockets are open: no request fails, no WebSocket ends, and each still
// reaches its node.
//
//	go test ./proxy -run TestReloadUnderLoad -v -reload.sockets 1000 -reload.time 10s
func TestReloadUnderLoad(t *testing.T) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		t.Skip("wrk is not installed")
	}
	var nodes []topology.Node
	for i := range 4 {
		echo := startNode(t, "", nil)
		n := echo.node(fmt.Sprintf("n%d", i))
		at := startSite(t, echoSockets)
		_, port, _ := net.SplitHostPort(at)
		n.HTTP, _ = strconv.Atoi(port)
		nodes = append(nodes, n)
	}
	b := serve(t, nil, func(s *Spec) {
		s.Nodes = nodes
		s.Listen.HTTP = "127.0.0.1:0"
		s.Workers = 2
		s.MaxConnections = 4000
		s.HTTP.KeepaliveRequests = 0
		s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond, s.Limits.MaxPerSource = 0, 0, 0
	})
	for _, n := range nodes {
		b.eventuallyState(n.Name, NodeUp)
	}
	web := b.address("http")
	ctx, cancel := context.WithTimeout(t.Context(), *reloadTime+time.Minute)
	defer cancel()
	sockets := make([]*websocket.Conn, *reloadSockets)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for i := range sockets {
		c, _, err := websocket.Dial(ctx, "ws://"+web+"/mcp/ws", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}) //nolint:bodyclose // there is none
		if err != nil {
			t.Fatalf("WebSocket %d: %v", i, err)
		}
		defer func() { _ = c.CloseNow() }()
		sockets[i] = c
	}
	speak := func(text string) {
		t.Helper()
		var wg sync.WaitGroup
		for i, c := range sockets {
			wg.Go(func() {
				if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
					t.Errorf("WebSocket %d is closed: %v", i, err)
					return
				}
				if _, got, err := c.Read(ctx); err != nil || string(got) != text {
					t.Errorf("WebSocket %d: %q, %v, want %q", i, got, err, text)
				}
			})
		}
		wg.Wait()
	}
	speak("before")

	type result struct {
		output []byte
		err    error
	}
	ended := make(chan result, 1)
	seconds := max(1, int(reloadTime.Seconds()))
	go func() {
		output, err := exec.CommandContext(ctx, wrk, "-t", "2", "-c", "64", "-d", strconv.Itoa(seconds), "--timeout", "10", "--latency", "http://"+web+"/mcp").CombinedOutput()
		ended <- result{output, err}
	}()
	b.eventually("wrk to ask", func(s *Stats) bool { return s.HTTP.Requests > uint64(len(sockets))+100 })
	reloads := 0
	var r result
	for running := true; running; {
		b.reloaded(func(s *Spec) {
			s.Timeouts.Idle = time.Duration(10+reloads%2) * time.Minute
			s.MaxConnections = 4000 + reloads%2
			s.Nodes = slices.Clone(nodes)
			s.Nodes[0].Weight = 1 + reloads%3
			if reloads%4 == 3 {
				s.Nodes = s.Nodes[:3] // the last one leaves, and comes back
			}
		})
		reloads++
		speak(fmt.Sprintf("after reload %d", reloads))
		select {
		case r = <-ended:
			running = false
		default:
		}
	}
	if r.err != nil {
		t.Fatalf("wrk: %v\n%s", r.err, r.output)
	}
	report, err := readWrk(string(r.output))
	if err != nil {
		t.Fatalf("%v\n%s", err, r.output)
	}
	speak("after")
	s := b.stats()
	if s.HTTP.Responses.ServerError != 0 || s.HTTP.Responses.ClientError != 0 {
		t.Errorf("responses are %+v", s.HTTP.Responses)
	}
	t.Logf("%d reloads during %d requests (%.0f/s, p99 %v) without an error, and %d WebSockets open throughout",
		reloads, report.requests, report.rate, report.p99, len(sockets))
}

// echoSockets is a node that answers requests, and says on a WebSocket what it hears.
func echoSockets(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		fmt.Fprint(w, "hello")
		return
	}
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, text, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, text) != nil {
			return
		}
	}
}
