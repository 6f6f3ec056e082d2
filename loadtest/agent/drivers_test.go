package agent_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/attack"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/swarm"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// generator is what an agent has a driver for.
type generator interface {
	Obey(o *wire.Order, begun func(wire.Ack, error))
	Counts() wire.Counts
	Stop()
}

func start(t *testing.T, d wire.Driver) generator {
	t.Helper()
	if d == wire.Vegeta {
		return attack.Start(func() {})
	}
	s, err := swarm.Start(func() {}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// driven is a generator that is told what to do.
type driven struct {
	t *testing.T
	generator
	connections int
}

func drive(t *testing.T, d wire.Driver, e target.Endpoint, w work.Work, connections int) *driven {
	t.Helper()
	v := &driven{t, start(t, d), connections}
	t.Cleanup(v.Stop)
	v.order(&wire.Order{Kind: wire.OrderOpen, At: mono.Now(), Rate: 1e5, Open: &wire.OpenOrder{
		Driver: d, Endpoint: e, Work: w, Connections: connections, Sources: sources.KernelsChoice, Timeout: time.Minute,
		Patience: wire.Patience{Spread: 10 * time.Millisecond, Base: time.Millisecond, Limit: 10 * time.Millisecond},
	}})
	v.order(&wire.Order{Kind: wire.OrderRest, At: mono.Now()})
	v.await("clients", func(n wire.Counts) bool { return n.Verified == connections })
	return v
}

func (v *driven) order(o *wire.Order) wire.Ack {
	v.t.Helper()
	done := make(chan wire.Ack, 1)
	v.Obey(o, func(a wire.Ack, err error) {
		if err != nil {
			v.t.Error(err)
		}
		done <- a
	})
	return <-done
}

func (v *driven) await(what string, wanted func(wire.Counts) bool) wire.Counts {
	v.t.Helper()
	return waittest.For(v.t, time.Minute, what, func() (n wire.Counts, ok bool) {
		n = v.Counts()
		return n, wanted(n)
	})
}

// ask has n requests asked, that are recorded, and waits until they and what follows from them is over.
func (v *driven) ask(n int, rate float64, limits ...int64) {
	v.t.Helper()
	before := v.await("all clients", func(n wire.Counts) bool { return n.Verified == v.connections })
	v.order(&wire.Order{Kind: wire.OrderPing, At: mono.Now(), Rate: rate, Ping: &wire.PingOrder{
		For: time.Duration(float64(n) / rate * float64(time.Second)), Record: true, Limits: limits,
	}})
	v.await("answers", func(c wire.Counts) bool {
		return c.Requests.Sent-before.Requests.Sent == int64(n) && c.Requests.UnderWay() == 0 && c.Verified == v.connections
	})
}

func (v *driven) collect() *wire.Measured {
	return v.order(&wire.Order{Kind: wire.OrderCollect}).Measured
}

func (v *driven) close() wire.Counts {
	v.t.Helper()
	v.order(&wire.Order{Kind: wire.OrderClose, Rate: 1e5})
	return v.await("the end", func(n wire.Counts) bool { return n.Open == 0 })
}

// server is one of MCP over HTTP, that answers what follows the introduction as a test likes.
type server struct {
	sessions sync.Map // its own
	begun    atomic.Int64
	asked    atomic.Int64                                                     // since verification
	reply    func(w http.ResponseWriter, r *http.Request, id string, n int64) // to the n-th request of a step
	answered func(message string)                                             // to what the server asked
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	session := r.Header.Get(mcp.HeaderSessionID)
	switch r.Method {
	case http.MethodDelete:
		s.sessions.Delete(session)
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var q mcp.Envelope
	_ = json.Unmarshal(text, &q)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Served-By", "a")
	if _, ok := s.sessions.Load(session); !ok && q.Method != mcp.MethodInitialize {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	switch q.Method {
	case mcp.MethodInitialize:
		name := fmt.Sprint("s", s.begun.Add(1))
		s.sessions.Store(name, true)
		w.Header().Set(mcp.HeaderSessionID, name)
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25"}}`, q.ID)
	case mcp.MethodPing:
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{}}`, q.ID)
	case "":
		s.answered(string(text))
		w.WriteHeader(http.StatusAccepted)
	case mcp.MethodInitialized:
		w.WriteHeader(http.StatusAccepted)
	default:
		s.reply(w, r, string(q.ID), s.asked.Add(1))
	}
}

func resultOf(id string) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{}}`, id) }

// listing is work with a step of its own.
func listing() work.Work {
	return work.Work{Era: mcp.SessionEra, Verify: ask.Ping, Naming: work.ByHeader, Steps: []work.Step{{Name: "list", Method: "tools/list", Weight: 1}}}
}

func endpoint(url string) target.Endpoint {
	to, err := target.Parse(url + "/mcp")
	if err != nil {
		panic(err)
	}
	return target.Endpoint{Target: to, Address: netip.AddrPortFrom(netip.MustParseAddr(to.Host), to.Port)}
}

// timeless is what two runs of the same thing have in common.
func timeless(n wire.Counts) wire.Counts {
	n.At, n.LastVerified, n.FirstLost, n.LastRecovered, n.LongestOut = 0, 0, 0, 0, 0
	n.Answers = latency.Buckets{n.Answers.Count()}
	return n
}

// Whatever a server does, both drivers count the same, and record what they count.
func TestDriversAgree(t *testing.T) {
	say := func(text string) func(http.ResponseWriter, *http.Request, string, int64) {
		return func(w http.ResponseWriter, _ *http.Request, id string, _ int64) {
			fmt.Fprint(w, strings.ReplaceAll(text, "ID", id))
		}
	}
	status := func(code int, text string) func(http.ResponseWriter, *http.Request, string, int64) {
		return func(w http.ResponseWriter, _ *http.Request, id string, _ int64) {
			w.WriteHeader(code)
			fmt.Fprint(w, strings.ReplaceAll(text, "ID", id))
		}
	}
	refused := func(cause string) func(n wire.Counts) bool {
		return func(n wire.Counts) bool {
			return n.Refused[cause] == 10 && n.Requests == wire.RequestCounts{Sent: 10, Failed: 10}
		}
	}
	answered := func(n wire.Counts) bool { return n.Requests == wire.RequestCounts{Sent: 10, Answered: 10} }
	for name, c := range map[string]struct {
		reply func(w http.ResponseWriter, r *http.Request, id string, n int64)
		tune  func(*work.Work)
		want  func(wire.Counts) bool
	}{
		"answers":          {reply: say(`{"jsonrpc":"2.0","id":ID,"result":{}}`), want: answered},
		"errors":           {reply: say(`{"jsonrpc":"2.0","id":ID,"error":{"code":-32602,"message":"no"}}`), want: refused("tool")},
		"over the rate":    {reply: say(`{"jsonrpc":"2.0","id":ID,"error":{"code":-32029,"message":"no"}}`)},
		"another's answer": {reply: say(`{"jsonrpc":"2.0","id":1,"result":{}}`), want: refused("reply")},
		"no answer":        {reply: say(`{}`), want: refused("reply")},
		"nothing":          {reply: say(``), want: refused("reply")},
		"429":              {reply: status(429, ""), want: refused("rate")},
		"400":              {reply: status(400, "what?"), want: refused("4xx")},
		"401":              {reply: status(401, ""), want: refused("unauthorized")},
		"500":              {reply: status(500, "sorry"), want: refused("5xx")},
		"503":              {reply: status(503, ""), want: refused("unavailable")},
		"nameless": {want: refused("reply"), reply: func(w http.ResponseWriter, _ *http.Request, id string, _ int64) {
			w.Header().Del("X-Served-By")
			fmt.Fprint(w, resultOf(id))
		}},
		"another node": {want: func(n wire.Counts) bool { return n.Moved == 10 && answered(n) }, reply: func(w http.ResponseWriter, _ *http.Request, id string, _ int64) {
			w.Header().Set("X-Served-By", "b")
			fmt.Fprint(w, resultOf(id))
		}},
		"tools that fail": {
			reply: say(`{"jsonrpc":"2.0","id":ID,"result":{"isError":true,"content":[]}}`), want: refused("tool"),
			tune: func(w *work.Work) {
				w.Steps = []work.Step{{Name: "tool", Method: "tools/call", Params: json.RawMessage(`{"name":"x"}`), Weight: 1}}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			counts := make(map[wire.Driver]wire.Counts)
			for _, d := range []wire.Driver{wire.Socket, wire.Vegeta} {
				h := httptest.NewServer(&server{reply: c.reply})
				defer h.Close()
				w := listing()
				if c.tune != nil {
					c.tune(&w)
				}
				v := drive(t, d, endpoint(h.URL), w, 5)
				v.ask(10, 1000)
				recordsWhatItCounts(t, v, 10)
				counts[d] = timeless(v.close())
				if n := counts[d]; c.want != nil && !c.want(n) {
					t.Errorf("%s: %+v", d, n)
				}
			}
			if !reflect.DeepEqual(counts[wire.Socket], counts[wire.Vegeta]) {
				t.Errorf("socket: %+v\nvegeta: %+v", counts[wire.Socket], counts[wire.Vegeta])
			}
		})
	}
}

// recordsWhatItCounts checks that what was measured of n requests, which are all there were, is what was counted.
func recordsWhatItCounts(t *testing.T, v *driven, due int64) {
	t.Helper()
	n, m := v.Counts(), v.collect()
	for _, of := range []map[string]latency.Message{m.Nodes, m.Steps} {
		recorded := int64(0)
		for _, message := range of {
			r, err := message.Recording()
			if err != nil {
				t.Fatal(err)
			}
			recorded += r.Histogram.TotalCount()
		}
		if recorded != n.Requests.Answered {
			t.Errorf("%d answers are recorded, of %d", recorded, n.Requests.Answered)
		}
	}
	var sum latency.Cell
	for _, w := range m.Windows {
		sum = sum.Plus(w)
	}
	if sum.Due != due || sum.Count != n.Requests.Answered || sum.Failed != due-n.Requests.Answered {
		t.Errorf("windows: %+v, counts: %+v", m.Windows, n.Requests)
	}
}

// However many requests are due in a tick, all of an order's are sent, and recorded.
func TestDriversRecordTheLastTick(t *testing.T) {
	agree(t, func(t *testing.T, d wire.Driver) wire.Counts {
		h := httptest.NewServer(&server{reply: func(w http.ResponseWriter, _ *http.Request, id string, _ int64) { fmt.Fprint(w, resultOf(id)) }})
		defer h.Close()
		v := drive(t, d, endpoint(h.URL), listing(), 50)
		v.ask(500, 10_000)
		recordsWhatItCounts(t, v, 500)
		return v.close()
	})
}

// Second by second, both drivers tell what was due, what failed and what was slow; a request that is due when nobody is there
// has failed.
func TestWindowsOfDrivers(t *testing.T) {
	for _, d := range []wire.Driver{wire.Socket, wire.Vegeta} {
		t.Run(string(d), func(t *testing.T) {
			h := httptest.NewServer(&server{reply: func(w http.ResponseWriter, _ *http.Request, id string, n int64) {
				switch {
				case n%10 == 1:
					time.Sleep(50 * time.Millisecond) // not to be taken for quick
				case n%10 == 2:
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				fmt.Fprint(w, resultOf(id))
			}})
			defer h.Close()
			v := drive(t, d, endpoint(h.URL), listing(), 5)
			v.ask(120, 100, 40_000, int64(time.Hour/time.Microsecond))
			recordsWhatItCounts(t, v, 120)
			m := v.collect()
			if len(m.Windows) != 2 {
				t.Fatalf("%+v", m.Windows)
			}
			sum := m.Windows[0].Plus(m.Windows[1])
			if sum.Due != 120 || sum.Failed != 12 || sum.Slow[0] < 12 || sum.Slow[1] != 0 || m.Windows[0].Due < 98 || m.Windows[0].Due > 101 {
				t.Errorf("%+v", m.Windows)
			}
			h.CloseClientConnections()
			h.Config.SetKeepAlivesEnabled(false)
			h.Listener.Close()
			v.await("everybody to be gone", func(n wire.Counts) bool { return n.Verified == 0 })
			v.order(&wire.Order{Kind: wire.OrderPing, At: mono.Now(), Rate: 1000, Ping: &wire.PingOrder{For: 20 * time.Millisecond, Record: true}})
			waittest.Until(t, time.Minute, "requests to be due", func() bool {
				w := v.collect().Windows
				return len(w) == 1 && w[0].Due == 20 && w[0].Failed == 20
			})
		})
	}
}

// agree has both drivers do the same, and compares what they count.
func agree(t *testing.T, do func(t *testing.T, d wire.Driver) wire.Counts) wire.Counts {
	t.Helper()
	socket, vegeta := timeless(do(t, wire.Socket)), timeless(do(t, wire.Vegeta))
	if !reflect.DeepEqual(socket, vegeta) {
		t.Errorf("socket: %+v\nvegeta: %+v", socket, vegeta)
	}
	return socket
}

// Clients begin a session anew after so many requests, and lose nothing by it; also where the server does not let them end one.
func TestDriversEndSessions(t *testing.T) {
	for name, c := range map[string]struct {
		keeps bool
		want  wire.SessionCounts
	}{
		"ended": {false, wire.SessionCounts{Begun: 12, Ended: 12}},
		"kept":  {true, wire.SessionCounts{Begun: 12}},
	} {
		t.Run(name, func(t *testing.T) {
			n := agree(t, func(t *testing.T, d wire.Driver) wire.Counts {
				var most sync.Map
				s := &server{reply: func(w http.ResponseWriter, r *http.Request, id string, _ int64) {
					n, _ := most.LoadOrStore(r.Header.Get(mcp.HeaderSessionID), new(atomic.Int64))
					if n.(*atomic.Int64).Add(1) > 3 {
						t.Error("a session of more than three requests")
					}
					fmt.Fprint(w, resultOf(id))
				}}
				h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodDelete && c.keeps {
						w.WriteHeader(http.StatusMethodNotAllowed)
						return
					}
					s.ServeHTTP(w, r)
				}))
				defer h.Close()
				w := listing()
				w.Session.Calls = 3
				v := drive(t, d, endpoint(h.URL), w, 4)
				for range 10 { // one after the other, so that somebody is there
					v.ask(3, 1000)
				}
				n := v.Counts()
				if n.Sessions.Begun != 12 || n.Requests.Answered != 30 {
					t.Errorf("%s: %+v", d, n)
				}
				return v.close()
			})
			if n.Sessions != c.want || n.Dropped != 0 || n.Requests.Lost != 0 || n.Requests.Failed != 0 || n.Attempts != 12 || len(n.Failures) != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// A server that asks before it answers hears something.
func TestDriversReact(t *testing.T) {
	n := agree(t, func(t *testing.T, d wire.Driver) wire.Counts {
		heard := make(chan string, 100)
		s := &server{answered: func(message string) { heard <- message }}
		s.reply = func(w http.ResponseWriter, _ *http.Request, id string, _ int64) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n")
			for _, method := range []string{"ping", "sampling/createMessage"} {
				fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":%q}\n\n", method)
				_ = http.NewResponseController(w).Flush()
				select {
				case said := <-heard:
					if good := strings.Contains(said, `"id":"q"`) && strings.Contains(said, `"result":{}`) == (method == "ping"); !good {
						t.Errorf("%s: %s to %s", d, said, method)
					}
				case <-time.After(time.Minute):
					t.Errorf("%s: nothing to %s", d, method)
				}
			}
			fmt.Fprintf(w, "data: %s\n\n", resultOf(id))
		}
		h := httptest.NewServer(s)
		defer h.Close()
		v := drive(t, d, endpoint(h.URL), listing(), 3)
		v.ask(1, 1000)
		v.ask(1, 1000)
		return v.close()
	})
	if n.Requests.Answered != 2 || n.Dropped != 0 {
		t.Errorf("%+v", n)
	}
}

// All that is lost while every node is armed is displaced.
func TestDriversArmEveryNode(t *testing.T) {
	n := agree(t, func(t *testing.T, d wire.Driver) wire.Counts {
		h := httptest.NewServer(&server{})
		defer h.Close()
		v := drive(t, d, endpoint(h.URL), listing(), 6)
		if ack := v.order(&wire.Order{Kind: wire.OrderArm, Node: wire.EveryNode}); ack.OnNode != 6 {
			t.Errorf("%s: %d clients on all nodes", d, ack.OnNode)
		}
		h.CloseClientConnections()
		v.await("the displaced", func(n wire.Counts) bool { return n.Recovered == 6 && n.Verified == 6 })
		return v.close()
	})
	if n.Displaced != 6 || n.Dropped != 0 || n.IdleCloses != 0 {
		t.Errorf("%+v", n)
	}
}

// A connection that the server ends because nothing is asked is not lost, and neither is a request that meets that.
func TestDriversOutliveIdleTimeouts(t *testing.T) {
	n := agree(t, func(t *testing.T, d wire.Driver) wire.Counts {
		h := httptest.NewUnstartedServer(&server{reply: func(w http.ResponseWriter, _ *http.Request, id string, _ int64) { fmt.Fprint(w, resultOf(id)) }})
		h.Config.IdleTimeout = 1500 * time.Millisecond
		h.Start()
		defer h.Close()
		v := drive(t, d, endpoint(h.URL), listing(), 3)
		v.await("time-outs", func(n wire.Counts) bool { return n.IdleCloses == 3 && n.Verified == 3 })
		v.ask(9, 1000)
		return v.close()
	})
	if n.IdleCloses != 3 || n.Dropped != 0 || n.Requests.Answered != 9 || n.Sessions != (wire.SessionCounts{Begun: 3, Ended: 3}) {
		t.Errorf("%+v", n)
	}
}

// A server that says that it ends the connection has not lost it.
func TestDriversOutliveAnnouncedCloses(t *testing.T) {
	n := agree(t, func(t *testing.T, d wire.Driver) wire.Counts {
		h := httptest.NewServer(&server{reply: func(w http.ResponseWriter, _ *http.Request, id string, n int64) {
			w.Header().Set("Connection", "close")
			fmt.Fprint(w, resultOf(id))
		}})
		defer h.Close()
		v := drive(t, d, endpoint(h.URL), listing(), 3)
		for range 4 {
			v.ask(1, 1000)
		}
		v.await("all to be back", func(n wire.Counts) bool { return n.IdleCloses == 4 && n.Verified == 3 })
		return v.close()
	})
	if n.Dropped != 0 || n.Requests.Answered != 4 || n.Sessions.Begun != 3 || n.Attempts != 7 {
		t.Errorf("%+v", n)
	}
}

// A request is sent again where the server cannot have served it, and only there.
func TestDriversSendAgainWhatWasNotServed(t *testing.T) {
	reset := func(c *net.TCPConn) { _ = c.SetLinger(0) }
	for name, c := range map[string]struct {
		secure bool
		end    func(c net.Conn, raw *net.TCPConn)
		want   wire.RequestCounts
	}{
		"reset without a word": {false, func(_ net.Conn, raw *net.TCPConn) { reset(raw) }, wire.RequestCounts{Sent: 1, Answered: 1}},
		"ended after reading":  {false, func(net.Conn, *net.TCPConn) {}, wire.RequestCounts{Sent: 1, Lost: 1}},
		"ended within a head":  {false, func(c net.Conn, _ *net.TCPConn) { fmt.Fprint(c, "HTTP/1.1 200") }, wire.RequestCounts{Sent: 1, Lost: 1}},
		"reset within TLS":     {true, func(_ net.Conn, raw *net.TCPConn) { reset(raw) }, wire.RequestCounts{Sent: 1, Answered: 1}},
		"ended within TLS":     {true, func(net.Conn, *net.TCPConn) {}, wire.RequestCounts{Sent: 1, Lost: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			agree(t, func(t *testing.T, d wire.Driver) wire.Counts {
				h := httptest.NewUnstartedServer(&server{reply: func(w http.ResponseWriter, _ *http.Request, id string, n int64) {
					if n > 1 {
						fmt.Fprint(w, resultOf(id))
						return
					}
					conn, _, err := w.(http.Hijacker).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					raw, ok := conn.(*net.TCPConn)
					if !ok {
						raw = conn.(*tls.Conn).NetConn().(*net.TCPConn)
					}
					c.end(conn, raw)
					raw.Close()
				}})
				if c.secure {
					h.StartTLS()
				} else {
					h.Start()
				}
				defer h.Close()
				e := endpoint(h.URL)
				e.TLS.Insecure = true
				v := drive(t, d, e, listing(), 1)
				v.ask(1, 1000)
				n := v.close()
				if n.Requests != c.want || n.Dropped != 1 || n.Sessions != (wire.SessionCounts{Begun: 1, Ended: 1}) {
					t.Errorf("%s: %+v", d, n)
				}
				return n
			})
		})
	}
}
