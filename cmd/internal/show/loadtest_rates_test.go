package show

import (
	"bytes"
	"testing"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/loadtest"
)

// A run that tried rates shows what came of them, what was asked and what connections waited for.
func TestLoadtestRates(t *testing.T) {
	quantiles := func(p50 int64) loadtest.Quantiles {
		return loadtest.Quantiles{Count: 10, Mean: float64(p50), P50: p50, P90: 2 * p50, P99: 3 * p50, Max: 4 * p50}
	}
	r := &loadtest.Report{
		Verdict: loadtest.Fail,
		Steps:   []loadtest.StepResult{{Name: "echo", Latency: quantiles(100)}},
		Setup:   map[string]loadtest.Quantiles{"tls": quantiles(2000), "first_event": quantiles(5000)},
		Rates: []loadtest.RateStep{
			{Name: "1000", RatePerSecond: 1000, GotPerSecond: 999.5, Latency: quantiles(200)},
			{Name: "2000", RatePerSecond: 2000, GotPerSecond: 1010, ErrorsPercent: 49.5, Latency: quantiles(300), Why: "the load test was late"},
		},
		Search: &loadtest.Search{
			Limit: "errors<=0.1%", RatePerSecond: 990.2, FailedPerSecond: 1015, ConfidencePercent: 95, EstimatePerSecond: 1001.5,
			Trials: []loadtest.Trial{
				{RatePerSecond: 990.2, GotPerSecond: 990, Purpose: "confirm", LengthS: 41, Held: true, Latency: quantiles(100)},
				{RatePerSecond: 1015, GotPerSecond: 1001, Purpose: "narrow", LengthS: 11, Why: "errors<=0.1%: 1.5 % of the requests break it", ErrorsPercent: 1.5, Latency: quantiles(100)},
			},
		},
		Checks: loadtest.Checks{{Name: "want", Verdict: judge.Fail, Want: "latency.p99<=50ms", Got: "-", Why: "not judged: count is 0"}},
		Notes:  []string{"wrk is a closed loop"},
	}
	var out bytes.Buffer
	if err := Loadtest(term.New(&out), r); err != nil {
		t.Fatal(err)
	}
	want := `LATENCY OF           ANSWERS   MEAN    P50    P90    P99    MAX
echo                      10  100µs  100µs  200µs  300µs  400µs
set-up: first event       10    5ms    5ms   10ms   15ms   20ms
set-up: tls               10    2ms    2ms    4ms    6ms    8ms

  RATE  ANSWERS  ERRORS    P50    P99    MAX
1000/s  999.5/s     0 %  200µs  600µs  800µs
2000/s   1010/s  49.5 %  300µs  900µs  1.2ms  the load test was late

TRIAL         RATE  LENGTH  ANSWERS  ERRORS    P50    P99  HELD
1 confirm  990.2/s     41s    990/s     0 %  100µs  300µs  yes
2 narrow    1015/s     11s   1001/s   1.5 %  100µs  300µs  no (errors<=0.1%: 1.5 % of the requests break it)

990/s held errors<=0.1%, 1,015/s did not; the limit is between them with a confidence of 95 %. The likeliest is 1,002/s.

CHECK  WANT               GOT
want   latency.p99<=50ms  -    FAIL: not judged: count is 0

note wrk is a closed loop
fail
`
	if out.String() != want {
		t.Errorf("got:\n%s", out.String())
	}
}
