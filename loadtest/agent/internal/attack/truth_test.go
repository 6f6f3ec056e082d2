package attack

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// journal is when a server answered what.
type journal struct {
	mu       sync.Mutex
	answered map[uint64]int64 // by request id, on the clock of internal/mono
}

// serve is a server that answers when hold says so, and writes it down.
func (j *journal) serve(hold func(n int64) time.Duration) *script {
	return &script{reply: func(w http.ResponseWriter, _ *http.Request, id string, n int64) {
		time.Sleep(hold(n))
		var number uint64
		if err := json.Unmarshal([]byte(id), &number); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		j.mu.Lock()
		j.answered[number] = mono.Now()
		j.mu.Unlock()
		answerWith(w, nodeReply(id, "a"))
	}}
}

// latencies are what requests that were due from some instant on took until they were answered, in microseconds, in order.
func (j *journal) latencies(epoch, from int64) []int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []int64
	for id, at := range j.answered {
		us, _ := work.OfID(id)
		if due := epoch + us*1000; due >= from {
			all = append(all, (at-due)/1000)
		}
	}
	slices.Sort(all)
	return all
}

// The percentiles of an attack are those that follow from when the requests were due and when the server answered, within
// 2 %, and what this machine was late by.
func checkTruth(t *testing.T, connections int, rate float64, span time.Duration, hold func(n int64) time.Duration, quantiles ...float64) {
	t.Helper()
	j := &journal{answered: make(map[uint64]int64)}
	server := j.serve(func(n int64) time.Duration { return hold(n - int64(connections)) })
	a := startAttack(t, orderFor(t, started(t, server), connections))
	a.awaitVerified(connections)
	at := mono.Now()
	a.order(&wire.Order{Kind: wire.OrderPing, At: at, Rate: rate, Ping: &wire.PingOrder{For: span, Record: true}})
	sent := int64(math.Round(rate * span.Seconds()))
	n := a.await("answers", func(n wire.Counts) bool { return n.Requests.Sent == sent && n.Requests.UnderWay() == 0 })
	if n.Requests.Answered != sent || n.Dropped != 0 {
		t.Fatalf("%+v", n)
	}
	want := j.latencies(a.epoch, at)
	m := a.order(&wire.Order{Kind: wire.OrderCollect}).Measured
	got := recordingOf(t, m.Nodes["a"])
	late := recordingOf(t, m.Lag).Histogram.Max()
	if got.Histogram.TotalCount() != sent || int64(len(want)) != sent {
		t.Fatalf("%d latencies, %d were written down, want %d", got.Histogram.TotalCount(), len(want), sent)
	}
	for _, q := range quantiles {
		w := want[int(math.Ceil(q/100*float64(len(want))))-1]
		g := got.Histogram.ValueAtQuantile(q)
		t.Logf("p%g: %d µs, by arithmetic %d µs", q, g, w)
		if slack := w/50 + late; g < w-w/500-1 || g > w+slack {
			t.Errorf("p%g: %d µs, by arithmetic %d µs", q, g, w)
		}
	}
}

func recordingOf(t *testing.T, m latency.Message) *latency.Recording {
	t.Helper()
	r, err := m.Recording()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A server that stands still now and then delays all that is due meanwhile, not only what it was asked just then.
func TestTruthAboutStalls(t *testing.T) {
	var stalls sync.RWMutex
	stalled := make(chan struct{})
	end := make(chan struct{})
	go func() {
		defer close(stalled)
		for {
			select {
			case <-end:
				return
			case <-time.After(800 * time.Millisecond):
			}
			stalls.Lock()
			time.Sleep(200 * time.Millisecond)
			stalls.Unlock()
		}
	}()
	defer func() { close(end); <-stalled }()
	checkTruth(t, 20, 500, 4*time.Second, func(int64) time.Duration {
		stalls.RLock()
		defer stalls.RUnlock()
		return 0
	}, 85, 90, 95, 99, 99.9, 100)
}

// One connection has its requests wait for one another, and that counts.
func TestTruthAboutQueues(t *testing.T) {
	checkTruth(t, 1, 100, time.Second, func(int64) time.Duration { return 20 * time.Millisecond }, 10, 50, 90, 99, 100)
}

func TestTruthAboutDistributions(t *testing.T) {
	checkTruth(t, 50, 200, 2*time.Second, func(n int64) time.Duration {
		switch {
		case n%20 == 0:
			return 300 * time.Millisecond
		case n%5 == 0:
			return 100 * time.Millisecond
		}
		return 30 * time.Millisecond
	}, 50, 75, 90, 96, 99, 100)
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
