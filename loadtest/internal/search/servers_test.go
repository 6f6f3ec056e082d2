package search

import (
	"math"
	"math/rand/v2"
	"time"
)

// server is a simulated one. Requests come in the order of their time; took is in seconds.
type server interface {
	ask(at float64) (took float64, ok bool)
}

// queue serves one request after the other.
type queue struct {
	service func() float64
	room    int // most that wait; 0: any number
	free    float64
	ends    []float64
}

func (q *queue) ask(at float64) (float64, bool) {
	if q.room > 0 {
		for len(q.ends) > 0 && q.ends[0] <= at {
			q.ends = q.ends[1:]
		}
		if len(q.ends) >= q.room {
			return 0.001, false
		}
	}
	q.free = max(q.free, at) + q.service()
	if q.room > 0 {
		q.ends = append(q.ends, q.free)
	}
	return q.free - at, true
}

// bucket answers 429 beyond a rate.
type bucket struct{ rate, burst, tokens, last float64 }

func (b *bucket) ask(at float64) (float64, bool) {
	b.tokens = min(b.burst, b.tokens+(at-b.last)*b.rate)
	b.last = at
	if b.tokens < 1 {
		return 0.001, false
	}
	b.tokens--
	return 0.002, true
}

// stalls holds its server up now and then.
type stalls struct {
	queue
	every, length func() float64
	next          float64
}

func (s *stalls) ask(at float64) (float64, bool) {
	for s.next <= at {
		s.free = max(s.free, s.next) + s.length()
		s.next += s.every()
	}
	return s.queue.ask(at)
}

// slow answers some requests late, at any rate.
type slow struct {
	queue
	random *rand.Rand
	share  float64
}

func (s *slow) ask(at float64) (float64, bool) {
	took, ok := s.queue.ask(at)
	if s.random.Float64() < s.share {
		took += 0.1
	}
	return took, ok
}

// weary is half as fast after an overload, until it has nothing to do.
type weary struct {
	queue
	tired bool
}

func (w *weary) ask(at float64) (float64, bool) {
	switch waiting := w.free - at; {
	case waiting > 0.5:
		w.tired = true
	case waiting <= 0:
		w.tired = false
	}
	if w.tired {
		w.free += 0.001
	}
	return w.queue.ask(at)
}

// leak gets slower as time goes by.
type leak struct{ queue }

func (l *leak) ask(at float64) (float64, bool) {
	l.service = always(0.001 * (1 + at/2000))
	return l.queue.ask(at)
}

func always(x float64) func() float64 { return func() float64 { return x } }

// model is a server whose limit is 1,000 a second, as arithmetic says, with the limits that it is searched with.
type model struct {
	name    string
	limits  string
	poisson bool // requests come at random
	server  func(random *rand.Rand) server
}

var models = []model{
	{"a queue of 1,000/s", "p99<=50ms,errors<=0.1%", false, func(*rand.Rand) server {
		return &queue{service: always(0.001)}
	}},
	{"a short queue that refuses", "p99<=50ms,errors<=0.1%", false, func(*rand.Rand) server {
		return &queue{service: always(0.001), room: 20}
	}},
	// The time in M/M/1 is exponential with rate μ−λ: the p99 is 50 ms where μ−λ = ln 100 / 50 ms.
	{"M/M/1", "p99<=50ms,errors<=0.1%", true, func(r *rand.Rand) server {
		mean := 1 / (1000 + math.Log(100)/0.05)
		return &queue{service: func() float64 { return r.ExpFloat64() * mean }}
	}},
	{"a limiter of 1,000/s", "p99<=50ms,errors<=0.1%", false, func(*rand.Rand) server {
		return &bucket{rate: 1000, burst: 50, tokens: 50}
	}},
	// After a stall of length P, requests are slower than L for (P−L)/(1−ρ): 1 % of 10 s with P = 60 ms on average and ρ = 0.9.
	{"stalls of 60 ms every 10 s", "p99<=50ms", false, func(r *rand.Rand) server {
		return &stalls{
			queue: queue{service: always(0.0009)},
			every: func() float64 { return 8 + 4*r.Float64() }, length: func() float64 { return 0.055 + 0.01*r.Float64() },
			next: 10 * r.Float64(),
		}
	}},
	{"0.8 % of answers 100 ms late", "p99<=50ms,errors<=0.1%", false, func(r *rand.Rand) server {
		return &slow{queue: queue{service: always(0.001)}, random: r, share: 0.008}
	}},
	{"half as fast after an overload", "p99<=50ms,errors<=0.1%", false, func(*rand.Rand) server {
		return &weary{queue: queue{service: always(0.001)}}
	}},
}

// timeout is when a request counts as lost.
const timeout = 10

// trial sends requests to a server and moves the clock.
func trial(s server, clock *float64, limits Limits, rate float64, length time.Duration, next func(i int) float64) Trial {
	seconds := int(length / time.Second)
	batches := make([]Batch, seconds)
	for i := range batches {
		batches[i].Slow = make([]int64, len(limits))
	}
	begin, i := *clock, 0
	for at := 0.0; at < float64(seconds); i, at = i+1, next(i+1) {
		took, ok := s.ask(begin + at)
		b := &batches[int(at)]
		b.Due++
		if !ok || took > timeout {
			b.Failed++
			continue
		}
		for j, l := range limits {
			if l.Above > 0 && took > l.Above.Seconds() {
				b.Slow[j]++
			}
		}
	}
	*clock += float64(seconds) + 0.5
	return Trial{Batches: batches}
}

// run is a whole search.
func (m *model) run(seed uint64, o Options) (Result, error) {
	random := rand.New(rand.NewPCG(seed, 1))
	limits, err := ParseLimits(m.limits)
	if err != nil {
		return Result{}, err
	}
	o.Limits = limits
	server := m.server(random)
	clock := 0.0
	s := New(o)
	for {
		rate, length, done := s.Next()
		if done {
			return s.Result(), nil
		}
		at := 0.0
		s.Report(trial(server, &clock, limits, rate, length, func(i int) float64 {
			if !m.poisson {
				return float64(i) / rate
			}
			at += random.ExpFloat64() / rate
			return at
		}))
	}
}
