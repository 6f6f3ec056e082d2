package master

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

var (
	computeFor = flag.Duration("busy.compute", 0, "how long servers compute in TestBusyServers, under the default checks")
	visitors   = flag.Int("busy.visitors", 50, "how many sessions there are in TestBusyServers, each with a call")
)

// busyServer does one thing at a time, as servers with an event loop do: while a tool computes, everything else
// waits. It does not forgive unknown sessions: they get 400.
type busyServer struct {
	name   string
	thread sync.Mutex

	// Under thread.
	sessions map[string]bool

	computed chan struct{} // closed when what is computed is known

	http *http.Server
	at   string // address
}

// startBusy starts one at an address, or anywhere.
func startBusy(t testing.TB, name, at string) *busyServer {
	t.Helper()
	s := &busyServer{name: name, sessions: make(map[string]bool), computed: make(chan struct{})}
	ln, err := net.Listen("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	s.at = ln.Addr().String()
	s.http = &http.Server{Handler: s}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.http.Serve(ln) })
	t.Cleanup(func() { s.http.Close(); serving.Wait() })
	return s
}

func (s *busyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.thread.Lock()
	defer s.thread.Unlock()
	id := r.Header.Get("Mcp-Session-Id")
	switch {
	case r.URL.Path == "/health":
		return
	case id == "":
		id = fmt.Sprintf("%s-%d", s.name, len(s.sessions))
		s.sessions[id] = true
	case !s.sessions[id]:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Mcp-Session-Id", id)
	if r.Method == http.MethodGet {
		s.stream(w, r)
		return
	}
	if r.Header.Get("Compute") != "" {
		<-s.computed
	}
	fmt.Fprint(w, s.name)
}

// stream sends events, between which others have their turn.
func (s *busyServer) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		fmt.Fprint(w, "data: 1\n\n")
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		s.thread.Unlock()
		select {
		case <-r.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
		s.thread.Lock()
		if r.Context().Err() != nil {
			return
		}
	}
}

// lines serves TCP clients by the same thread.
func (s *busyServer) lines(c *net.TCPConn) {
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		s.thread.Lock()
		_, err = io.WriteString(c, s.name+":"+line)
		s.thread.Unlock()
		if err != nil {
			return
		}
	}
}

// node describes the server, and what serves its lines if anything does.
func (s *busyServer) node(t testing.TB, lines *proxytest.FakeNode) topology.Node {
	at, err := net.ResolveTCPAddr("tcp4", s.at)
	if err != nil {
		t.Fatal(err)
	}
	n := topology.Node{Name: s.name, Host: "127.0.0.1", HTTP: at.Port}
	if lines != nil {
		n.TCP = lines.Addr().(*net.TCPAddr).Port
	}
	return n
}

// visitor is who has a session.
type visitor struct {
	*http.Client
	url, session string
}

// call asks within the session; a visitor without one gets one.
func (v *visitor) call(compute bool) (status int, body string, err error) {
	req, err := http.NewRequest(http.MethodPost, v.url, strings.NewReader("{}"))
	if err != nil {
		return 0, "", err
	}
	if v.session != "" {
		req.Header.Set("Mcp-Session-Id", v.session)
	}
	if compute {
		req.Header.Set("Compute", "yes")
	}
	resp, err := v.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if id := resp.Header.Get("Mcp-Session-Id"); v.session == "" {
		v.session = id
	} else if id != "" && id != v.session {
		return 0, "", fmt.Errorf("session %s became %s", v.session, id)
	}
	return resp.StatusCode, string(text), err
}

func (b *balancer) visitor() *visitor {
	transport := &http.Transport{MaxIdleConnsPerHost: 1}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &visitor{Client: &http.Client{Transport: transport, Timeout: time.Minute}, url: "http://" + b.address("http") + "/mcp"}
}

// withBusy balances over servers.
func withBusy(nodes ...topology.Node) func(*proxy.Spec) {
	return func(s *proxy.Spec) {
		s.Nodes = nodes
		s.Workers = 2
		s.Listen.HTTP = "127.0.0.1:0"
		s.Limits.MessagesPerSecond = 0
		s.MaxConnections = 5000
		s.Checks.Kind, s.Checks.Path = "http", "/health"
		s.Checks.Timeout, s.Checks.GiveUp = 50*time.Millisecond, time.Minute
	}
}

// Servers that compute lose nothing, neither calls nor sessions, streams or connections, and newcomers wait
// rather than be refused when all are busy.
//
//	go test ./proxy/master -run TestBusyServers -busy.compute 8s -busy.visitors 1000
func TestBusyServers(t *testing.T) {
	var servers []*busyServer
	var nodes []topology.Node
	for _, name := range []string{"n0", "n1"} {
		s := startBusy(t, name, "127.0.0.1:0")
		servers, nodes = append(servers, s), append(nodes, s.node(t, proxytest.StartNode(t, name, s.lines)))
	}
	b := serve(t, nil, func(s *proxy.Spec) {
		withBusy(nodes...)(s)
		if s.Sticky.TCP = proxy.StickyNone; *computeFor > 0 {
			kind, path := s.Checks.Kind, s.Checks.Path
			s.Checks = proxy.Default().Checks
			s.Checks.Kind, s.Checks.Path = kind, path
		}
	})

	all := make([]*visitor, *visitors)
	home := make(map[string]*visitor)
	for i := range all {
		all[i] = b.visitor()
		if _, name, err := all[i].call(false); err != nil || name != "n0" && name != "n1" {
			t.Fatalf("served by %q, %v", name, err)
		} else if home[name] == nil {
			home[name] = all[i]
		}
	}
	if len(home) != 2 {
		t.Fatalf("all sessions are at one node")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var streams, calls sync.WaitGroup
	for _, v := range all[:10] {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, v.url, nil)
		req.Header.Set("Mcp-Session-Id", v.session)
		resp, err := v.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("stream: %v, %v", resp, err)
		}
		streams.Go(func() {
			defer resp.Body.Close()
			if _, err := io.Copy(io.Discard, resp.Body); ctx.Err() == nil {
				t.Errorf("a stream ended: %v", err)
			}
		})
	}
	var lines []*proxytest.Client
	for range 10 {
		lines = append(lines, b.dial())
		lines[len(lines)-1].Ask("hello")
	}

	call := func(v *visitor, compute bool) {
		if status, body, err := v.call(compute); err != nil || status != http.StatusOK {
			t.Errorf("a call of session %s: %d, %q, %v", v.session, status, body, err)
		}
	}
	for _, s := range servers {
		calls.Go(func() { call(home[s.name], true) })
	}
	known := time.After(*computeFor)
	if *computeFor == 0 || *computeFor > 5*time.Second {
		for _, s := range servers {
			b.eventuallyState(s.name, proxy.NodeSilent)
		}
		if status, _ := b.get("health", "/health"); status != http.StatusOK {
			t.Errorf("/health is %d while all are busy", status)
		}
		_, metrics := b.get("admin", "/metrics")
		_, csv := b.get("admin", "/stats;csv")
		if !strings.Contains(metrics, `state="silent"} 1`) || !strings.Contains(csv, "NOLB") {
			t.Errorf("busy servers are not shown as such:\n%s\n%s", metrics, csv)
		}
		e, err := b.Explain(t.Context(), "192.0.2.1")
		if err != nil || !e.Accepted || len(e.Nodes) != 1 || !strings.HasSuffix(e.Why, "; no node is up, so silent ones are taken") {
			t.Errorf("a newcomer is explained as %+v, %v", e, err)
		}
	}
	for _, v := range all {
		calls.Go(func() { call(v, false) })
	}
	for range 10 {
		calls.Go(func() { call(b.visitor(), false) })
	}
	for _, c := range lines {
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		c.Say("are you there\n")
	}
	<-known
	for _, s := range servers {
		close(s.computed)
	}
	for _, c := range lines {
		c.Hear()
	}
	calls.Wait()
	for _, s := range servers {
		b.eventuallyState(s.name, proxy.NodeUp)
	}
	for _, v := range all {
		call(v, false)
	}
	s := b.stats()
	if n := s.Node("n0").Displaced + s.Node("n1").Displaced; n != 0 || s.Refused != (proxy.RefusedStats{}) {
		t.Errorf("%d displaced, refused %+v", n, s.Refused)
	}
	cancel()
	streams.Wait()
}

// The session of a process that has ended is gone for good, even when another process is in its place, and
// after a restart of the balancer; a session of the present one survives that.
func TestSessionsEndWithTheirProcess(t *testing.T) {
	first := startBusy(t, "n0", proxytest.FreeAddress(t))
	b := serve(t, nil, withBusy(first.node(t, nil)))
	before := b.visitor()
	if status, _, err := before.call(false); status != http.StatusOK || err != nil {
		t.Fatal(status, err)
	}
	wants := func(what string, v *visitor, want int) {
		t.Helper()
		v.url = "http://" + b.address("http") + "/mcp"
		if status, body, err := v.call(false); status != want || err != nil {
			t.Errorf("%s: %d, %q, %v, want %d", what, status, body, err, want)
		}
	}
	again := func() {
		t.Helper()
		if err := b.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if err := <-b.done; err != nil {
			t.Fatal(err)
		}
		ready := make(chan struct{})
		go func() { b.done <- Serve(context.Background(), b.file, b.options(func() { close(ready) })) }()
		select {
		case <-ready:
		case err := <-b.done:
			t.Fatal(err)
		}
	}
	again()
	wants("after a restart of the balancer", before, http.StatusOK)

	first.http.Close()
	b.eventuallyState("n0", proxy.NodeDown)
	wants("while nobody is there", before, http.StatusNotFound)
	startBusy(t, "n0", first.at)
	b.eventuallyState("n0", proxy.NodeUp)
	wants("of the process before", before, http.StatusNotFound)
	after := b.visitor()
	wants("a new session", after, http.StatusOK)
	wants("in that session", after, http.StatusOK)
	if e, err := b.ExplainTag(t.Context(), proxy.TagSession, before.session); err != nil || e.Kept || e.Status != http.StatusNotFound || e.Node != "n0" {
		t.Errorf("explained as %+v, %v", e, err)
	}

	again()
	wants("of the process before, at another balancer", before, http.StatusNotFound)
	wants("of the present one, at another balancer", after, http.StatusOK)
}
