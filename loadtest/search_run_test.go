package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/search"
)

// bucket is a limiter of requests a second.
type bucket struct {
	rate, burst float64

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

func (b *bucket) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(b.burst, b.tokens+now.Sub(b.last).Seconds()*b.rate)
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// web is a server of Streamable HTTP that answers 429 beyond its limit.
type web struct {
	limit    atomic.Pointer[bucket]
	sessions atomic.Int64
}

func (s *web) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q mcp.Envelope
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&q) != nil {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if b := s.limit.Load(); b != nil && !b.take() {
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	result := `{"content":[{"type":"text","text":"one"}]}`
	switch q.Method {
	case mcp.MethodInitialize:
		w.Header().Set(mcp.HeaderSessionID, fmt.Sprint("s", s.sessions.Add(1)))
		result = `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"web","version":"1"}}`
	case mcp.MethodInitialized:
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, q.ID, result)
}

// limitAfterHold begins to limit once the hold is over.
func limitAfterHold(limit *atomic.Pointer[bucket], rate float64) func(Progress) {
	return func(p Progress) {
		if p.Phase == PhaseHold && p.Ended {
			limit.Store(&bucket{rate: rate, burst: rate / 50, last: time.Now()})
		}
	}
}

// The limit of a server is found. Where this machine is too busy for that, the search says so.
func TestSearchFindsTheLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	const limit = 1000
	f := startFake(t, 2)
	s := testSpec(f, 100, time.Second)
	s.FindLimit = "p99<=1s,errors<=0.5%"
	begin := limitAfterHold(&f.limit, limit)
	var said []string
	r := mustRun(t, s, Options{
		System: f, search: search.Options{Start: 950, Max: 1100, Precision: 0.05},
		Progress: func(p Progress) {
			begin(p)
			if p.Phase == PhaseSearch && p.Now != nil && p.Now.Trial != "" && !slices.Contains(said, p.Now.Trial) {
				said = append(said, p.Now.Trial)
			}
		},
	})
	if got, want := phases(r), "preflight, baseline, ramp, hold, sticky, search, close"; got != want {
		t.Error(got)
	}
	found := r.Search
	t.Logf("%+v", found)
	if len(said) < 2 || !strings.HasPrefix(said[0], "trial 1: 950/s for 6s") || len(found.Trials) < 2 || found.Trials[0].LengthS != 6 || found.Trials[0].Purpose != "grow" {
		t.Errorf("%q, %+v", said, found)
	}
	line := slices.IndexFunc(r.Checks, func(c judge.Result) bool { return c.Name == "search" })
	if found.Inconclusive {
		if r.Verdict == Pass || r.Checks[line].Verdict != judge.Unjudged {
			t.Errorf("%s: %+v", r.Verdict, r.Checks[line])
		}
		t.Skip("this machine is too busy: " + found.Reason)
	}
	if math.Abs(found.EstimatePerSecond-limit) > 0.03*limit || found.RatePerSecond > 1.01*limit || found.FailedPerSecond < limit {
		t.Errorf("%+v", found)
	}
	if failed(r) != "" || r.Checks[line].Verdict != judge.OK {
		t.Errorf("%s: %+v", failed(r), r.Checks)
	}
}

// Rates are tried one after the other, and what came of each can be wanted.
func TestRunTriesRates(t *testing.T) {
	server := new(web)
	h := httptest.NewServer(server)
	defer h.Close()
	s := Default()
	s.Target, s.Connections, s.Duration, s.Agents, s.StickySample = h.URL+"/mcp", 20, 2*time.Second, 1, 0
	s.Rates = "20,400"
	s.Want = []string{"rates.20.errors<=0%,rates.400.errors<=1%"}
	r := mustRun(t, s, Options{Progress: limitAfterHold(&server.limit, 100)})
	if got, want := phases(r), "preflight, baseline, ramp, hold, rates, close"; got != want {
		t.Error(got)
	}
	if len(r.Rates) != 2 || r.Driver != string(DriverVegeta) {
		t.Fatalf("%s %+v", r.Driver, r.Rates)
	}
	low, high := r.Rates[0], r.Rates[1]
	if low.GotPerSecond != 20 || low.ErrorsPercent != 0 || low.Latency.Count != 40 || low.LengthS != 2 || low.Latency.P99 < low.Latency.P50 {
		t.Errorf("%+v", low)
	}
	if high.ErrorsPercent < 50 || high.GotPerSecond > 200 || high.Latency.Count == 0 || high.Latency.Count > 400 {
		t.Errorf("%+v", high)
	}
	// Where this machine was too busy meanwhile, the want is not judged.
	wanted := Fail
	if high.Why != "" || r.Checks[len(r.Checks)-1].Why != "" {
		wanted = Inconclusive
	}
	if (failed(r) == "want") != (wanted == Fail) || r.Verdict != wanted && wanted == Inconclusive || r.Connections.Dropped != 0 {
		t.Errorf("%s: %+v", failed(r), r.Checks)
	}
}

// A search that is interrupted has what it knows.
func TestInterruptedSearch(t *testing.T) {
	f := startFake(t, 2)
	s := testSpec(f, 20, 100*time.Millisecond)
	s.FindLimit, s.StickySample = "p99<=1s", 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := Run(ctx, s, Options{System: f, Progress: func(p Progress) {
		if p.Phase == PhaseSearch && p.Done > 0 {
			cancel()
		}
	}})
	if err != nil || r.Verdict != Interrupted || r.Search == nil || r.Search.Limit != s.FindLimit || len(r.Search.Trials) != 0 {
		t.Errorf("%v: %+v", err, r)
	}
	awaitNoChildren(t)
}
