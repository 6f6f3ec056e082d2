package attack

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

func TestAttackOnSDK(t *testing.T) {
	for _, era := range []mcp.Era{mcp.SessionEra, mcp.StatelessEra} {
		t.Run(era.String(), func(t *testing.T) {
			o := orderFor(t, started(t, sdkHandler(era == mcp.StatelessEra)), 20)
			o.Work.Era = era
			o.Work.Steps = []work.Step{{Name: "list", Method: "tools/list", Weight: 1, Params: json.RawMessage(
				`{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}`)}}
			if era == mcp.SessionEra {
				o.Work.Steps[0].Params = nil
			}
			a := startAttack(t, o)
			a.awaitVerified(20)
			n := a.ask(100)
			if n.Requests.Answered != 100 || n.Nodes["a"] != 20 || n.Attempts != 20 || n.Moved != 0 {
				t.Errorf("%+v", n)
			}
			a.order(&wire.Order{Kind: wire.OrderSticky, Rate: 1e5, Sticky: &wire.StickyOrder{Sample: 5}})
			n = a.await("the sample", func(n wire.Counts) bool { return n.Verified == 20 && n.Sticky.Settled() })
			if n.Sticky != (wire.StickyCounts{Sampled: 5, Consistent: 5}) || n.Dropped != 0 || n.Attempts != 25 {
				t.Errorf("%+v", n)
			}
			m := a.order(&wire.Order{Kind: wire.OrderCollect}).Measured
			for what, recorded := range map[string]struct {
				message any
				present bool
			}{"node": {m.Nodes, m.Nodes["a"].Histogram != ""}, "step": {m.Steps, m.Steps["list"].Histogram != ""},
				"connect": {m.Setup, m.Setup[wire.StageConnect].Histogram != ""}, "lag": {m.Lag, m.HoldLag.Histogram != ""}} {
				if !recorded.present {
					t.Errorf("no latency of the %s: %+v", what, recorded.message)
				}
			}
			n = a.closeAll()
			want := wire.SessionCounts{Begun: 20, Ended: 20}
			if era == mcp.StatelessEra {
				want = wire.SessionCounts{}
			}
			if n.Sessions != want || n.Verified != 0 || n.Dropped != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// Over TLS, with either version of HTTP.
func TestAttackOverTLS(t *testing.T) {
	for _, second := range []bool{false, true} {
		var proto sync.Map
		s := httptest.NewUnstartedServer(&script{reply: func(w http.ResponseWriter, r *http.Request, id string, _ int64) {
			proto.Store(r.Proto, true)
			answerWith(w, nodeReply(id, "a"))
		}})
		s.EnableHTTP2 = true
		s.StartTLS()
		defer s.Close()
		o := orderFor(t, s, 3)
		o.Endpoint.HTTP2 = second
		o.Endpoint.TLS = target.TLS{ServerName: "example.com", CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))}
		a := startAttack(t, o)
		a.awaitVerified(3)
		if n := a.ask(30); n.Requests.Answered != 30 {
			t.Errorf("%+v", n)
		}
		a.order(&wire.Order{Kind: wire.OrderSticky, Rate: 1e5, Sticky: &wire.StickyOrder{Sample: 3}})
		n := a.await("the sample", func(n wire.Counts) bool { return n.Verified == 3 && n.Sticky.Settled() })
		if n.Dropped != 0 || n.Sticky.Consistent != 3 {
			t.Errorf("%+v", n)
		}
		if m := a.order(&wire.Order{Kind: wire.OrderCollect}).Measured; m.Setup[wire.StageTLS].Histogram == "" {
			t.Error("no time of handshakes")
		}
		if _, ok := proto.Load("HTTP/2.0"); ok != second {
			t.Errorf("HTTP/2: %t, want %t", ok, second)
		}
		a.closeAll()

		o.Endpoint.TLS.CA = ""
		b := startAttack(t, o)
		b.await("refusals", func(n wire.Counts) bool { return n.Failures["network"] > 0 })
	}
}

// HTTP/2 in the clear, by prior knowledge.
func TestAttackOverClearHTTP2(t *testing.T) {
	s := httptest.NewUnstartedServer(&script{reply: func(w http.ResponseWriter, r *http.Request, id string, _ int64) {
		answerWith(w, nodeReply(id, r.Proto))
	}})
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	o := orderFor(t, s, 2)
	o.Endpoint.HTTP2 = true
	a := startAttack(t, o)
	a.awaitVerified(2)
	if n := a.ask(20); n.Requests.Answered != 20 || n.Nodes["HTTP/2.0"] != 2 {
		t.Errorf("%+v", n)
	}
	a.closeAll()
}

func TestAttackCountsRefusals(t *testing.T) {
	a := startAttack(t, orderFor(t, started(t, &script{reply: func(w http.ResponseWriter, _ *http.Request, id string, n int64) {
		switch n {
		case 2:
			w.WriteHeader(http.StatusTooManyRequests)
		case 3:
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, strings.Repeat("sorry ", 20_000))
		case 4:
			answerWith(w, string(mcp.AppendError(nil, []byte(id), mcp.CodeRateLimited, "slow down")))
		case 5:
			answerWith(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
		default:
			answerWith(w, nodeReply(id, "a"))
		}
	}}), 1))
	a.awaitVerified(1)
	n := a.ask(6)
	if n.Requests.Failed != 4 || n.Refused["rate"] != 2 || n.Refused["5xx"] != 1 || n.Refused["reply"] != 1 {
		t.Errorf("%+v", n)
	}
}

// A session that the server does not know any more is replaced on the connection that is there.
func TestAttackBeginsSessionsAnew(t *testing.T) {
	var dead atomic.Value
	dead.Store("")
	server := &script{reply: func(w http.ResponseWriter, r *http.Request, id string, _ int64) {
		if r.Header.Get(mcp.HeaderSessionID) == dead.Load() {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		answerWith(w, nodeReply(id, "a"))
	}}
	a := startAttack(t, orderFor(t, started(t, server), 1))
	a.awaitVerified(1)
	dead.Store("s1")
	if n := a.ask(1); n.Refused["session"] != 1 {
		t.Errorf("%+v", n)
	}
	n := a.await("another session", func(n wire.Counts) bool { return n.Verified == 1 && n.Sessions.Begun == 2 })
	if n.Sessions.Lost != 1 || n.Dropped != 0 || n.Open != 1 || n.Attempts != 2 {
		t.Errorf("%+v", n)
	}
	dead.Store("s2") // it comes back with it
	a.order(&wire.Order{Kind: wire.OrderSticky, Rate: 1e5, Sticky: &wire.StickyOrder{Sample: 1}})
	n = a.await("the sample", func(n wire.Counts) bool { return n.Verified == 1 && n.Sticky.Settled() })
	if n.Sessions != (wire.SessionCounts{Begun: 3, Lost: 2}) || len(n.Failures) != 0 {
		t.Errorf("%+v", n)
	}
	a.order(&wire.Order{Kind: wire.OrderArm, Node: "a"})
	dead.Store("s3") // lost with the node, though the connection is there
	a.ask(1)
	n = a.await("the displaced to be back", func(n wire.Counts) bool { return n.Recovered == 1 })
	if n.Displaced != 1 || n.Dropped != 0 || n.Attempts != 4 || n.Verified != 1 {
		t.Errorf("%+v", n)
	}
}

func TestAttackNoticesSilence(t *testing.T) {
	release := make(chan struct{})
	o := orderFor(t, started(t, &script{reply: func(w http.ResponseWriter, r *http.Request, id string, n int64) {
		if n == 2 {
			select {
			case <-r.Context().Done():
			case <-release:
			}
			return
		}
		answerWith(w, nodeReply(id, "a"))
	}}), 1)
	defer close(release)
	o.Timeout = time.Second
	a := startAttack(t, o)
	a.awaitVerified(1)
	n := a.ask(3)
	if n.Requests.Lost == 0 || n.Requests.Failed != 0 {
		t.Errorf("%+v", n)
	}
	n = a.awaitVerified(1)
	if n.Losses["timeout"] != 1 || n.Dropped != 1 || n.Sessions.Begun != 1 {
		t.Errorf("%+v", n)
	}
}

// What the other side closes or resets while nothing happens is noticed.
func TestAttackNoticesClosing(t *testing.T) {
	var mu sync.Mutex
	conns := make(map[net.Conn]bool)
	s := httptest.NewUnstartedServer(&script{reply: func(w http.ResponseWriter, _ *http.Request, id string, _ int64) {
		w.Header().Set("X-Served-By", "b")
		answerWith(w, nodeReply(id, "a"))
	}})
	s.Config.ConnState = func(c net.Conn, st http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if conns[c] = true; st == http.StateClosed {
			delete(conns, c)
		}
	}
	s.Start()
	defer s.Close()
	endAll := func(reset bool) {
		mu.Lock()
		defer mu.Unlock()
		for c := range conns {
			if reset {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
			delete(conns, c)
		}
	}
	o := orderFor(t, s, 10)
	o.Work.Naming = work.ByHeader
	o.Sources = sources.In(netip.MustParsePrefix("127.77.0.0/24"), 4)
	a := startAttack(t, o)
	a.awaitVerified(10)
	endAll(false)
	n := a.await("all to be back", func(n wire.Counts) bool { return n.Dropped == 10 && n.Verified == 10 })
	if n.Losses["closed"] != 10 || n.Sessions.Begun != 10 || n.Nodes["b"] != 10 {
		t.Errorf("%+v", n)
	}
	if ack := a.order(&wire.Order{Kind: wire.OrderArm, Node: "b"}); ack.OnNode != 10 {
		t.Errorf("%d clients on the node", ack.OnNode)
	}
	endAll(true)
	n = a.await("the displaced to be back", func(n wire.Counts) bool { return n.Recovered == 10 && n.Verified == 10 })
	if n.Dropped != 10 || n.Displaced != 10 || n.FirstLost == 0 || n.LastRecovered < n.FirstLost {
		t.Errorf("%+v", n)
	}
	a.order(&wire.Order{Kind: wire.OrderDisarm})
	endAll(true)
	n = a.await("the dropped to be back", func(n wire.Counts) bool { return n.Dropped == 20 && n.Verified == 10 })
	if n.Losses["reset"] != 10 {
		t.Errorf("%+v", n)
	}
	a.order(&wire.Order{Kind: wire.OrderSticky, Rate: 1e5, Sticky: &wire.StickyOrder{Sample: 100}})
	if n := a.Counts(); n.Sticky.Sampled != 0 {
		t.Errorf("%d of the displaced were sampled", n.Sticky.Sampled)
	}
}

func TestAttackReadsStreams(t *testing.T) {
	s := &script{reply: func(w http.ResponseWriter, _ *http.Request, id string, n int64) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(w, ": hello\n\nid: 1\ndata:\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\r\n\r\n")
		switch n {
		case 3:
			return
		case 4:
			fmt.Fprint(w, "data: "+strings.Repeat(" ", ask.MaxReply+1))
		}
		line := nodeReply(id, fmt.Sprint("n", min(n, 2)))
		at := strings.IndexByte(line, ',') + 1
		fmt.Fprintf(w, "event: message\ndata: %s\ndata: %s\n\n", line[:at], line[at:])
	}}
	a := startAttack(t, orderFor(t, started(t, s), 1))
	a.awaitVerified(1)
	if n := a.ask(1); n.Requests.Answered != 1 || n.Moved != 1 || n.Nodes["n1"] != 1 {
		t.Errorf("%+v", n)
	}
	for lost := range 2 {
		a.ask(1)
		n := a.await("it to be back", func(n wire.Counts) bool { return n.Verified == 1 && n.Dropped == lost+1 })
		if n.Losses["reply"] != int64(lost+1) || n.Requests.Lost != int64(lost+1) {
			t.Errorf("%+v", n)
		}
		s.asked.Store(3)
	}
}

func TestAttackGivesUp(t *testing.T) {
	for name, reply := range map[string]func(w http.ResponseWriter, id string){
		"reply":       func(w http.ResponseWriter, _ string) { answerWith(w, `{}`) },
		"rate":        func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusTooManyRequests) },
		"unavailable": func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusServiceUnavailable) },
		"ban": func(w http.ResponseWriter, id string) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write(mcp.AppendError(nil, nil, mcp.CodeBanned, "go away"))
		},
	} {
		o := orderFor(t, started(t, &script{reply: func(w http.ResponseWriter, _ *http.Request, id string, _ int64) { reply(w, id) }}), 1)
		o.Patience = wire.Patience{Base: time.Millisecond, Limit: 10 * time.Millisecond}
		a := startAttack(t, o)
		n := a.await("it to give up", func(n wire.Counts) bool { return n.Failed == 1 })
		if n.Failures[name] != wire.MaxAttempts || n.Open != 0 || n.Verified != 0 || n.Requests.Sent != 0 {
			t.Errorf("%s: %+v", name, n)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	o := orderFor(t, &httptest.Server{URL: "http://" + l.Addr().String()}, 1)
	a := startAttack(t, o)
	a.await("nobody to listen", func(n wire.Counts) bool { return n.Failures["refused"] > 0 })
}

// Of the era without sessions, requests say in their heads what is in them; what the owner adds goes with all.
func TestAttackSaysWhatItAsks(t *testing.T) {
	var wrong atomic.Value
	s := started(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			of
			Params struct{ Name, URI string }
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			wrong.Store(err.Error())
		}
		name := r.Header.Get(mcp.HeaderName)
		if name == "=?base64?ZmlsZTovL8Ok?=" {
			name = "file://ä"
		}
		if r.Header.Get(mcp.HeaderProtocolVersion) != mcp.Version20260728 || r.Header.Get(mcp.HeaderMethod) != q.Method ||
			name != q.Params.Name+q.Params.URI || r.Header.Get("Authorization") != "Bearer x" || r.Host != "example.com" ||
			r.Header.Get(mcp.HeaderSessionID) != "" || r.Header.Get("Accept-Encoding") != "" || r.Header.Get(seqHeader) != "" {
			wrong.Store(fmt.Sprintf("%v %+v", r.Header, q))
		}
		answerWith(w, nodeReply(string(q.ID), "a"))
	}))
	o := orderFor(t, s, 2)
	o.Endpoint.Header = []target.Field{{Name: "authorization", Value: "Bearer x"}, {Name: "host", Value: "example.com"}}
	o.Work = work.Work{Era: mcp.StatelessEra, Verify: ask.Discover, Steps: []work.Step{
		{Name: "tool", Method: "tools/call", Params: json.RawMessage(`{"name":"echo"}`), Weight: 1},
		{Name: "resource", Method: "resources/read", Params: json.RawMessage(`{"uri":"file://ä"}`), Weight: 1},
	}}
	a := startAttack(t, o)
	a.awaitVerified(2)
	if n := a.ask(20); n.Requests.Answered != 20 || n.Nodes[""] != 2 {
		t.Errorf("%+v", n)
	}
	if said := wrong.Load(); said != nil {
		t.Error(said)
	}
}

func TestAttackClosesInAnyState(t *testing.T) {
	release := make(chan struct{})
	a := startAttack(t, orderFor(t, started(t, &script{reply: func(w http.ResponseWriter, r *http.Request, id string, n int64) {
		if n > 50 {
			select {
			case <-r.Context().Done():
			case <-release:
			}
			return
		}
		answerWith(w, nodeReply(id, "a"))
	}}), 100))
	defer close(release)
	a.awaitVerified(50)
	a.order(&wire.Order{Kind: wire.OrderPing, At: mono.Now(), Rate: 1e4, Ping: &wire.PingOrder{}})
	a.await("requests", func(n wire.Counts) bool { return n.Requests.Sent > 20 })
	a.order(&wire.Order{Kind: wire.OrderSticky, Rate: 1e5, Sticky: &wire.StickyOrder{Sample: 10}})
	a.order(&wire.Order{Kind: wire.OrderQuiet})
	a.order(&wire.Order{Kind: wire.OrderClose, Rate: 1e5})
	a.order(&wire.Order{Kind: wire.OrderClose, Rate: 1})
	n := a.await("the end", func(n wire.Counts) bool { return n.Open == 0 })
	if n.Verified != 0 || n.Dropped != 0 {
		t.Errorf("%+v", n)
	}
	waittest.Until(t, time.Minute, "no handshake to be under way", a.admitted)
}

func (a *testAttack) admitted() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unverified == 0
}

func TestAttackIsStoppedInAnyState(t *testing.T) {
	s := started(t, &script{reply: func(w http.ResponseWriter, _ *http.Request, id string, _ int64) { answerWith(w, nodeReply(id, "a")) }})
	a := startAttack(t, orderFor(t, s, 50))
	a.await("some", func(n wire.Counts) bool { return n.Verified > 5 })
	a.order(&wire.Order{Kind: wire.OrderPing, At: mono.Now(), Rate: 1e4, Ping: &wire.PingOrder{}})
	a.Stop()
	if n := a.Counts(); n.Open != 0 {
		t.Errorf("%+v", n)
	}
	a.Obey(&wire.Order{Kind: wire.OrderRest}, func(_ wire.Ack, err error) {
		if err == nil {
			t.Error("it obeys after its end")
		}
	})
}

func TestAttackRefusesOrders(t *testing.T) {
	a := Start(func() {})
	defer a.Stop()
	o := orderFor(t, &httptest.Server{URL: "http://127.0.0.1:1"}, 0)
	tcp := *o
	tcp.Endpoint.Transport = target.TCP
	untrusted := *o
	untrusted.Endpoint.Secure, untrusted.Endpoint.TLS.CA = true, "none"
	for want, order := range map[string]*wire.Order{
		"nothing was opened":                               {Kind: wire.OrderRest},
		"clients over tcp are not known":                   {Kind: wire.OrderOpen, Rate: 1, Open: &tcp},
		"there is no certificate in what is to be trusted": {Kind: wire.OrderOpen, Rate: 1, Open: &untrusted},
		"nothing was opened ":                              {Kind: wire.OrderPing, Rate: 1, Ping: &wire.PingOrder{}},
	} {
		a.Obey(order, func(_ wire.Ack, err error) {
			if err == nil || err.Error() != strings.TrimSpace(want) {
				t.Errorf("%s: %v", want, err)
			}
		})
	}
	a.Obey(&wire.Order{Kind: wire.OrderOpen, Rate: 1, Open: o}, func(_ wire.Ack, err error) {
		if err != nil {
			t.Error(err)
		}
	})
	a.Obey(&wire.Order{Kind: wire.OrderOpen, Rate: 1, Open: o}, func(_ wire.Ack, err error) {
		if err == nil {
			t.Error("it was opened twice")
		}
	})
}

// slowWriter is a socket of a machine so busy that whoever writes hears of it long after the other side.
type slowWriter struct{ net.Conn }

func (s slowWriter) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	time.Sleep(100 * time.Millisecond)
	return n, err
}

// An answer that is there before the request is known to be written does not cost the connection.
func TestAttackOnBusyMachine(t *testing.T) {
	a := &testAttack{t, Start(func() {})}
	defer a.Stop()
	a.dial = func(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
		c, err := dial(ctx, from, to)
		return slowWriter{c}, err
	}
	s := started(t, &script{reply: func(w http.ResponseWriter, _ *http.Request, id string, _ int64) { answerWith(w, nodeReply(id, "a")) }})
	a.order(&wire.Order{Kind: wire.OrderOpen, At: mono.Now(), Rate: 1e5, Open: orderFor(t, s, 1)})
	a.awaitVerified(1)
	if n := a.ask(3); n.Requests.Answered != 3 || n.Dropped != 0 || n.Attempts != 1 {
		t.Errorf("%+v", n)
	}
}
