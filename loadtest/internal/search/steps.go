package search

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Plan is a sequence of trials: a Search or Steps.
type Plan interface {
	// Next is the trial that is due, the same until it is reported.
	Next() (rate float64, length time.Duration, done bool)
	Report(Trial)
}

// Steps are trials at given rates, one after the other.
type Steps struct {
	rates  []float64
	length time.Duration
}

// NewSteps tries each rate, in requests a second, for so long.
func NewSteps(rates []float64, length time.Duration) *Steps { return &Steps{rates, length} }

// Next is the trial that is due.
func (s *Steps) Next() (rate float64, length time.Duration, done bool) {
	if len(s.rates) == 0 {
		return 0, 0, true
	}
	return s.rates[0], s.length, false
}

// Report goes on to the next rate, whatever came of this one.
func (s *Steps) Report(Trial) { s.rates = s.rates[min(1, len(s.rates)):] }

// ErrRates is what errors of ParseRates wrap.
var ErrRates = errors.New("not rates, as in 1000,2000,4000")

// maxSteps is more than anybody waits for.
const maxSteps = 1000

// ParseRates reads rates a second with commas between them.
func ParseRates(text string) (rates []float64, err error) {
	for one := range strings.SplitSeq(text, ",") {
		rate, err := strconv.ParseFloat(strings.TrimSpace(one), 64)
		if err != nil || !(rate > 0) || math.IsInf(rate, 0) || len(rates) == maxSteps {
			return nil, fmt.Errorf("%.40q is %w", text, ErrRates)
		}
		rates = append(rates, rate)
	}
	return rates, nil
}
