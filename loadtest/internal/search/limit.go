package search

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/loadtest/internal/want"
)

// Limit is something that holds at a rate: no more than a share of all requests breaks it.
type Limit struct {
	Text string // as it was written
	// Share is the most that may: 0.01 for p99.
	Share float64
	// Above is how long an answer may take; what fails takes longer than any time. 0: the limit is of requests that fail.
	Above time.Duration
}

// Limits are several, which all have to hold.
type Limits []Limit

// figures are those that can have a limit. Mean and max are not among them: no number of requests shows that they hold.
type figures struct {
	P50    int64   `json:"p50" unit:"us"`
	P75    int64   `json:"p75" unit:"us"`
	P90    int64   `json:"p90" unit:"us"`
	P95    int64   `json:"p95" unit:"us"`
	P99    int64   `json:"p99" unit:"us"`
	P999   int64   `json:"p999" unit:"us"`
	P9999  int64   `json:"p9999" unit:"us"`
	Errors float64 `json:"errors" unit:"percent"`
}

var (
	schema = want.Of[figures]()
	shares = map[string]float64{"p50": 0.5, "p75": 0.25, "p90": 0.1, "p95": 0.05, "p99": 0.01, "p999": 0.001, "p9999": 0.0001}
)

// ErrLimit is what errors of ParseLimits wrap that are about what a limit is; others are those of package want.
var ErrLimit = errors.New("not a limit that can be shown to hold")

// ParseLimits reads limits of quantiles and of failed requests with commas between them: "p99<=50ms,errors<=0.1%". Where there is
// none of errors, those of latency are also that: a request that fails is slower than any time.
func ParseLimits(text string) (limits Limits, err error) {
	wants, err := schema.ParseAll(text)
	if err != nil {
		return nil, err
	}
	for _, w := range wants {
		l := Limit{Text: w.Text, Share: w.Limit() / 100}
		if share, ok := shares[w.Path()]; ok {
			l.Share = share
			l.Above = time.Duration(min(w.Limit(), 1e12) * float64(time.Microsecond))
			if l.Above <= 0 {
				return nil, fmt.Errorf("%q is %w: give a time above 0", w.Text, ErrLimit)
			}
		}
		switch {
		case w.Op != want.AtMost && w.Op != want.Less:
			return nil, fmt.Errorf("%q is %w: a rate that grows ends at what is too high, so write <=", w.Text, ErrLimit)
		case l.Share <= 0:
			return nil, fmt.Errorf("%q is %w: no number of requests shows that none ever fails; give a small share, such as 0.1%%", w.Text, ErrLimit)
		case l.Share >= 1:
			return nil, fmt.Errorf("%q is %w: it always holds", w.Text, ErrLimit)
		}
		limits = append(limits, l)
	}
	return limits, nil
}

// Slow counts, for each limit, the answers of a histogram in microseconds that took longer than it allows: what Batch.Slow
// needs. It is exact to the histogram's digits.
func (l Limits) Slow(h *hdrhistogram.Histogram) []int64 {
	slow := make([]int64, len(l))
	for _, bar := range h.Distribution() {
		for i, limit := range l {
			if limit.Above > 0 && bar.From > limit.Above.Microseconds() {
				slow[i] += bar.Count
			}
		}
	}
	return slow
}
