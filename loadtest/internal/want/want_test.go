package want_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/loadtest/internal/want"
)

var schema = want.Of[Report]()

func quantiles(p99 int64) Quantiles {
	return Quantiles{Count: 1000, Min: 100, Mean: 5000.5, P50: 4000, P90: 9000, P99: p99, P999: 2 * p99, Max: 3 * p99}
}

func report() *Report {
	var checks judge.List
	checks.Measure("failover_rerouted", judge.UpTo(1200.0, 5000, "ms"), "≤ 5s", "1.2s")
	checks.Measure("connections", judge.All(100, 100, "connections"), "100", "100")
	checks.Unjudged("kernel_agreement", "within 5", "elsewhere")
	return &Report{
		Checks: Checks(checks),
		Plan:   Plan{HoldS: 10},
		Nodes: []Node{
			{Name: "erlmcp1", Latency: quantiles(20_000), Stddev: 1500},
			{Name: "n2@10.0.0.1", Latency: quantiles(60_000)},
			{Name: "idle"},
		},
		Latency:   &Latency{Quantiles: quantiles(45_000), Stddev: 700},
		Requests:  &Requests{Sent: 2000, Answered: 1990, Failed: 8, Lost: 2, Causes: map[string]int64{"429": 7, "closed": 1}},
		Failover:  &Failover{ReroutedMs: 1200},
		Steps:     []Step{{Name: "echo", Latency: quantiles(30_000)}},
		Setup:     map[string]Quantiles{"connect": quantiles(900)},
		Resources: &Resources{Balancer: ProcessUse{RSSBytes: 200 << 20, CPUPercent: 80}},
		Parts:     []Part{{Name: "http", Requests: &Requests{Sent: 100, Answered: 95, Failed: 5}}},
	}
}

func TestCheck(t *testing.T) {
	r := report()
	for _, c := range []struct {
		text, path, got string
		ok              bool
		why             string
	}{
		{"latency.p99<=50ms", "latency.p99", "45ms", true, ""},
		{"latency.p99<45ms", "latency.p99", "45ms", false, ""},
		{"latency.p99 = 45000", "latency.p99", "45ms", true, ""},
		{"latency.p99≠0.045s", "latency.p99", "45ms", false, ""},
		{"latency.stddev<=1000µs", "latency.stddev", "700µs", true, ""},
		{"latency.mean>=5.0005ms", "latency.mean", "5.001ms", true, ""},
		{"latency.count>=1000", "latency.count", "1000", true, ""},
		{"nodes.erlmcp1.latency.p99<=20ms", "nodes.erlmcp1.latency_us.p99", "20ms", true, ""},
		{"nodes.erlmcp1.latency_stddev<=1ms", "nodes.erlmcp1.latency_stddev_us", "1.5ms", false, ""},
		{"nodes.n2@10.0.0.1.latency_us.p99<=20ms", `nodes."n2@10.0.0.1".latency_us.p99`, "60ms", false, ""},
		{`nodes."n2@10.0.0.1".latency_us.p99>20ms`, `nodes."n2@10.0.0.1".latency_us.p99`, "60ms", true, ""},
		{"nodes.idle.latency.p99<=20ms", "nodes.idle.latency_us.p99", "", false, "not judged: count is 0"},
		{"nodes.none.latency.p99<=20ms", "nodes.none.latency_us.p99", "", false, `not judged: nodes has no "none", but erlmcp1, n2@10.0.0.1, idle`},
		{"nodes.erlmcp1.kernel_connections=3", "nodes.erlmcp1.kernel_connections", "", false, "not judged: the run did not measure it"},
		{"steps.echo.latency.p99<=30ms", "steps.echo.latency_us.p99", "30ms", true, ""},
		{"setup_latency.connect.p99<=1ms", "setup_latency_us.connect.p99", "900µs", true, ""},
		{"setup_latency.tls.p99<=1ms", "setup_latency_us.tls.p99", "", false, `not judged: setup_latency_us has no "tls", but connect`},
		{"failover.rerouted<=2s", "failover.rerouted_ms", "1.2s", true, ""},
		{"failover.detected<=2s", "failover.detected_ms", "", false, "not judged: it did not happen"},
		{"failover.restored<=2s", "failover.restored_ms", "", false, "not judged: it did not happen"},
		{"failover.survivors.max_deviation<=2", "failover.survivors.max_deviation", "", false, "not judged: the run did not measure failover.survivors"},
		{"checks.failover_rerouted.got_value<=1s", "checks.failover_rerouted.got_value", "1.2s", false, ""},
		{"checks.connections.got_value>=100", "checks.connections.got_value", "100 connections", true, ""},
		{"checks.connections.got_value>=100ms", "checks.connections.got_value", "", false, "not judged: it is a number (1000), not a time (50ms, 1.5s)"},
		{"checks.kernel_agreement.got_value<=1", "checks.kernel_agreement.got_value", "", false, "not judged: the run did not measure it"},
		{"requests.causes.429<=5", "requests.causes.429", "7", false, ""},
		{"requests.causes.500=0", "requests.causes.500", "0 (there were 429, closed)", true, ""},
		{"connections.losses.reset=0", "connections.losses.reset", "", false, "not judged: the run did not measure connections"},
		{"plan.sources_used_before=0", "plan.sources_used_before", "0", true, ""},
		{"errors<=0.5%", "errors", "0.5 %", true, ""},
		{"parts.http.errors<1%", "parts.http.errors", "5 %", false, ""},
		{"rate>=200/s", "rate", "199/s", false, ""},
		{"resources.balancer.rss<=256MiB", "resources.balancer.rss_bytes", "200 MiB", true, ""},
		{"resources.balancer.rss<=64m", "resources.balancer.rss_bytes", "200 MiB", false, ""},
		{"resources.balancer.cpu<=90%", "resources.balancer.cpu_percent", "80 %", true, ""},
		{"sticky.consistent=9", "sticky.consistent", "", false, "not judged: the run did not measure sticky"},
		{"distribution.max_deviation=0", "distribution.max_deviation", "", false, "not judged: the run did not measure distribution"},
		{"phases.hold.took<=1m", "phases.hold.took_s", "", false, "not judged: the run did not measure phases"},
	} {
		w, err := schema.Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		outcomes, err := w.Check(r)
		if err != nil || len(outcomes) != 1 {
			t.Fatalf("%s: %v, %v", c.text, outcomes, err)
		}
		if o := outcomes[0]; o.Text != c.text || o.Path != c.path || o.Got != c.got || o.OK != c.ok || o.Why != c.why {
			t.Errorf("%s: %+v", c.text, o)
		}
	}
}

func TestEachElement(t *testing.T) {
	wants, err := schema.ParseAll("nodes.*.latency.p99<=50ms, requests.causes.* <= 5,errors<=1%")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(report())
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := wants.Check(json.RawMessage(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range outcomes {
		r := o.Result()
		got = append(got, strings.TrimSuffix(strings.Join([]string{map[judge.Verdict]string{judge.OK: "ok", judge.Fail: "FAIL"}[r.Verdict], r.Want, r.Got, r.Why}, "|"), "|"))
	}
	wanted := []string{
		"ok|nodes.*.latency.p99<=50ms|20ms (nodes.erlmcp1.latency_us.p99)",
		`FAIL|nodes.*.latency.p99<=50ms|60ms (nodes."n2@10.0.0.1".latency_us.p99)`,
		"FAIL|nodes.*.latency.p99<=50ms|- (nodes.idle.latency_us.p99)|not judged: count is 0",
		"FAIL|requests.causes.* <= 5|7 (requests.causes.429)",
		"ok|requests.causes.* <= 5|1 (requests.causes.closed)",
		"ok|errors<=1%|0.5 %",
	}
	if !slices.Equal(got, wanted) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

// A run that was empty does not satisfy anybody.
func TestNothingMeasured(t *testing.T) {
	for _, text := range []string{"sticky.consistent>=0", "errors<=1%", "rate>=0", "latency.p99<=1s", "nodes.*.latency.p99<=1s", "parts.http.errors<=1%", "setup_latency.*.p99<=1s"} {
		w, err := schema.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		outcomes, err := w.Check(&Report{Sticky: &Sticky{}, Requests: &Requests{}, Latency: &Latency{}})
		if err != nil || len(outcomes) != 1 || outcomes[0].OK || !strings.HasPrefix(outcomes[0].Why, "not judged: ") {
			t.Errorf("%s: %+v, %v", text, outcomes, err)
		}
	}
}

func TestLinesOfTheVerdict(t *testing.T) {
	w, err := schema.Parse("latency.p99<=50ms")
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := w.Check(report())
	if err != nil {
		t.Fatal(err)
	}
	r := outcomes[0].Result()
	if r.Name != "want" || r.Verdict != judge.OK || *r.GotValue != 45 || *r.WantMax != 50 || r.WantMin != nil || r.Unit != "ms" {
		t.Errorf("%+v", r)
	}
	if w.Path() != "latency.p99" || w.Limit() != 50_000 {
		t.Errorf("%s %g", w.Path(), w.Limit())
	}
}

func TestWrongNames(t *testing.T) {
	for path, wanted := range map[string]string{
		"latancy.p99":                  "latency.p99",
		"latency.p95":                  "latency.p90",
		"p99":                          "latency.p99",
		"nodes.erlmcp1.latncy.p99":     "nodes.NAME.latency_us.p99",
		"failover.reroute":             "failover.rerouted_ms",
		"failover.rerouted_us":         "failover.rerouted_ms",
		"error":                        "errors",
		"chekcs.dropped.got_value":     "checks.NAME.got_value",
		"resources.balancer.rss_bites": "resources.balancer.rss_bytes",
	} {
		_, err := schema.Parse(path + "<=1")
		var wrong *want.NameError
		if !errors.As(err, &wrong) || wrong.Path != path || wrong.Nearest()[0] != wanted {
			t.Errorf("%s: %v", path, err)
		}
	}
	// What is there but not a number, or cannot be addressed.
	for _, path := range []string{"verdict", "failover.node", "started", "nodes", "latency", "series.points.p99", "failover.restored.x", "nodes.a"} {
		var wrong *want.NameError
		if _, err := schema.Parse(path + "=1"); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", path, err)
		}
	}
	_, err := schema.Parse("latancy.p99<=1ms")
	if text := err.Error(); !strings.HasPrefix(text, `a report has no figure "latancy.p99"; the nearest of its `) || strings.Count(text, ",") != 7 {
		t.Error(text)
	}
}

func TestWrongValuesAndTexts(t *testing.T) {
	for text, wanted := range map[string]string{
		"latency.p99<=5%":                   `"latency.p99<=5%": the value of latency.p99: it is a time (50ms, 1.5s), not percent (0.1%)`,
		"latency.p99<=fast":                 `"latency.p99<=fast": the value of latency.p99: "fast" is not a time (50ms, 1.5s)`,
		"errors<=5ms":                       `"errors<=5ms": the value of errors: it is percent (0.1%), not a time (50ms, 1.5s)`,
		"requests.sent>=NaN":                `"requests.sent>=NaN": the value of requests.sent: "NaN" is not a number (1000)`,
		"requests.sent>=0x10":               `"requests.sent>=0x10": the value of requests.sent: "0x10" is not a number (1000)`,
		"resources.balancer.rss_bytes<=1ms": `"resources.balancer.rss_bytes<=1ms": the value of resources.balancer.rss_bytes: "1ms" is not a size (64MiB, 1GB)`,
		"latency.p99":                       `"latency.p99" is not a figure, an operator and a value, as in latency.p99<=50ms`,
		"latency.p99<=":                     `"latency.p99<=" is not a figure, an operator and a value, as in latency.p99<=50ms`,
		"<=50ms":                            `"<=50ms" is not a figure, an operator and a value, as in latency.p99<=50ms`,
		"":                                  `"" is not a figure, an operator and a value, as in latency.p99<=50ms`,
		`nodes."a"b.connections=1`:          `"nodes.\"a\"b.connections=1" is not a figure, an operator and a value, as in latency.p99<=50ms`,
	} {
		if _, err := schema.Parse(text); err == nil || err.Error() != wanted {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := schema.Parse(strings.Repeat("x", 2000) + "<1"); !errors.Is(err, want.ErrSyntax) || len(err.Error()) > 200 {
		t.Errorf("%v", err)
	}
	if _, err := schema.ParseAll("errors<=1%,"); !errors.Is(err, want.ErrSyntax) {
		t.Errorf("%v", err)
	}
	if _, err := schema.ParseAll(`nodes."a,b<=c".connections=1,errors<=1%`); err != nil {
		t.Errorf("%v", err)
	}
}

// Every figure that is listed can be asked for, and finds itself.
func TestEveryPathParses(t *testing.T) {
	paths := schema.Paths()
	for _, path := range paths {
		w, err := schema.Parse(path + ">=0")
		if err != nil || w.Path() != path {
			t.Errorf("%s: %s, %v", path, w.Path(), err)
			continue
		}
		if o, err := w.Check(report()); err != nil || len(o) != 1 || o[0].OK != (o[0].Why == "") {
			t.Errorf("%s: %+v, %v", path, o, err)
		}
	}
	if len(paths) < 80 {
		t.Errorf("%d figures only", len(paths))
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"latency.p99<=50ms", "nodes.*.latency_us.p99>1s", `nodes."a.b".connections!=1`, "checks.a.b.got_value<=5s", "errors≤0.1%",
		"rate==1e3/s", "resources.balancer.rss>1GB", "requests.causes.a.b.c=0", "a.b.c<1", "latency.p99>+10%", "errors<-1pp", "",
	} {
		f.Add(seed)
	}
	full := report()
	f.Fuzz(func(t *testing.T, text string) {
		if w, err := schema.Parse(text); err == nil {
			again, err := schema.Parse(w.Path() + string(w.Op) + "1")
			if err != nil || again.Path() != w.Path() {
				t.Fatalf("%q has the path %q, which is read as %q, %v", text, w.Path(), again.Path(), err)
			}
			outcomes, err := w.Check(full)
			if err != nil || len(outcomes) == 0 {
				t.Fatalf("%q: %v, %v", text, outcomes, err)
			}
			for _, o := range outcomes {
				if (o.Got == "") != (o.Why != "") || o.OK && o.Why != "" {
					t.Fatalf("%q: %+v", text, o)
				}
			}
		}
	})
}
