package attack

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// pipes is a listener of connections within the process, in which time is what a test makes it.
type pipes struct {
	made chan net.Conn
	end  chan struct{}
	once sync.Once
}

func newPipes() *pipes { return &pipes{made: make(chan net.Conn), end: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _ netip.Addr, _ netip.AddrPort) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.made <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.made:
		return c, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.end) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// exchange is what a server of a test knows of a request.
type exchange struct{ due, answered int64 }

// attackInNoTime sends requests at a rate to a server that answers when hold says so, in a world where nothing else takes
// time. It returns what was measured and what the server has seen.
func attackInNoTime(t *testing.T, connections int, rate float64, span time.Duration, hold func(since time.Duration, n int64) time.Duration) (*latency.Recording, []exchange) {
	t.Helper()
	p := newPipes()
	a := &testAttack{t, Start(func() {})}
	defer a.Stop()
	a.dial = p.dial
	var (
		mu   sync.Mutex
		seen []exchange
		from int64 // of the requests that count
	)
	server := &http.Server{Handler: &script{reply: func(w http.ResponseWriter, _ *http.Request, id string, n int64) {
		var number uint64
		if err := json.Unmarshal([]byte(id), &number); err != nil {
			t.Error(err)
		}
		if n <= int64(connections) { // it verifies
			answerWith(w, nodeReply(id, "a"))
			return
		}
		time.Sleep(hold(time.Duration(mono.Now()-from), n-int64(connections)-1))
		mu.Lock()
		defer mu.Unlock()

		seen = append(seen, exchange{a.tally.Due(number), mono.Now()})
		answerWith(w, nodeReply(id, "a"))
	}}}
	var served sync.WaitGroup
	served.Go(func() {
		if err := server.Serve(p); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	defer served.Wait()
	defer server.Close()
	o := orderFor(t, &httptest.Server{URL: "http://127.0.0.1:1"}, connections)
	a.order(&wire.Order{Kind: wire.OrderOpen, At: mono.Now(), Rate: 1e4, Open: o})
	a.order(&wire.Order{Kind: wire.OrderRest, At: mono.Now()})
	time.Sleep(time.Second)
	if n := a.Counts(); n.Verified != connections {
		t.Fatalf("%+v", n)
	}
	from = mono.Now()
	a.order(&wire.Order{Kind: wire.OrderPing, At: from, Rate: rate, Ping: &wire.PingOrder{For: span, Record: true}})
	time.Sleep(span + 10*time.Second)
	sent := int64(math.Round(rate * span.Seconds()))
	if n := a.Counts(); n.Requests != (wire.RequestCounts{Sent: sent, Answered: sent}) {
		t.Fatalf("%+v", n)
	}
	m := a.order(&wire.Order{Kind: wire.OrderCollect}).Measured
	if late := recordingOf(t, m.HoldLag).Histogram.Max(); late > 1 {
		t.Errorf("it was late by %d µs", late)
	}
	return recordingOf(t, m.Nodes["a"]), seen
}

func recordingOf(t *testing.T, m latency.Message) *latency.Recording {
	t.Helper()
	r, err := m.Recording()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// compare says where percentiles are not those of latencies, in microseconds.
func compare(t *testing.T, got *latency.Recording, want []int64) {
	t.Helper()
	slices.Sort(want)
	if n := got.Histogram.TotalCount(); n != int64(len(want)) {
		t.Fatalf("%d latencies, want %d", n, len(want))
	}
	for _, q := range []float64{1, 10, 25, 50, 75, 90, 95, 99, 99.9, 100} {
		w := want[max(int(math.Ceil(q/100*float64(len(want))-1e-9)), 1)-1]
		if g := got.Histogram.ValueAtQuantile(q); math.Abs(float64(g-w)) > 0.005*float64(w)+1 {
			t.Errorf("p%g: %d µs, want %d µs", q, g, w)
		}
	}
}

func took(seen []exchange) []int64 {
	var all []int64
	for _, x := range seen {
		all = append(all, (x.answered-x.due)/1000)
	}
	return all
}

// A server that stands still for 200 ms of each second delays all that is due meanwhile, not only what it was asked just
// then: of 500 requests in each second, 100 take 200 ms, 198 ms … 2 ms, whatever waits on the connections.
func TestTruthAboutStalls(t *testing.T) {
	for _, connections := range []int{1, 7, 200} {
		synctest.Test(t, func(t *testing.T) {
			got, seen := attackInNoTime(t, connections, 500, 4*time.Second, func(since time.Duration, _ int64) time.Duration {
				if phase := since % time.Second; phase >= 800*time.Millisecond {
					return time.Second - phase
				}
				return 0
			})
			var want []int64
			for i := range int64(2000) {
				if phase := i * 2 % 1000; phase >= 800 {
					want = append(want, (1000-phase)*1000)
				} else {
					want = append(want, 0)
				}
			}
			compare(t, got, want)
			compare(t, got, took(seen))
		})
	}
}

// One connection has its requests wait for one another, and that counts: the i-th of 100 that are due every 10 ms and take
// 20 ms each ends after 20 ms × (i+1).
func TestTruthAboutQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, seen := attackInNoTime(t, 1, 100, time.Second, func(time.Duration, int64) time.Duration { return 20 * time.Millisecond })
		var want []int64
		for i := range int64(100) {
			want = append(want, 20_000*(i+1)-10_000*i)
		}
		compare(t, got, want)
		compare(t, got, took(seen))
	})
}

func TestTruthAboutDistributions(t *testing.T) {
	hold := func(n int64) time.Duration {
		switch {
		case n%100 == 0:
			return 2 * time.Second
		case n%20 == 0:
			return 300 * time.Millisecond
		case n%5 == 0:
			return 100 * time.Millisecond
		}
		return time.Duration(n%7) * 1100 * time.Microsecond
	}
	synctest.Test(t, func(t *testing.T) {
		got, _ := attackInNoTime(t, 1500, 300, 4*time.Second, func(_ time.Duration, n int64) time.Duration { return hold(n) })
		var want []int64
		for n := range int64(1200) {
			want = append(want, hold(n).Microseconds())
		}
		compare(t, got, want)
	})
}

func TestSchedule(t *testing.T) {
	for _, rate := range []float64{0.1, 1, 3, 1000, 123456.789} {
		s := schedule{7, rate}
		for i := range uint64(1000) {
			want := float64(i) * 1e9 / rate
			if got := float64(s.at(i) - 7); got < want || got >= want+1 {
				t.Errorf("instant %d at %g/s is %g, want %g", i, rate, got, want)
			}
		}
	}
}
