package loadtest

import (
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Quantiles is the shape of a latency distribution, in microseconds.
type Quantiles struct {
	Count int64   `json:"count"`
	Min   int64   `json:"min" unit:"us" of:"count"`
	Mean  float64 `json:"mean" unit:"us" of:"count"`
	P50   int64   `json:"p50" unit:"us" of:"count"`
	P90   int64   `json:"p90" unit:"us" of:"count"`
	P99   int64   `json:"p99" unit:"us" of:"count"`
	P999  int64   `json:"p999" unit:"us" of:"count"`
	Max   int64   `json:"max" unit:"us" of:"count"`
}

func quantiles(h *hdrhistogram.Histogram) Quantiles {
	return Quantiles{
		Count: h.TotalCount(), Min: h.Min(), Mean: math.Round(h.Mean()*10) / 10,
		P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90), P99: h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9), Max: h.Max(),
	}
}
