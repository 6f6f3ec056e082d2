package report_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report"
	"github.com/erlmcp/erlmcp/loadtest/report/reporttest"
)

// All forms are written, and what is read again is the same report.
func TestWriteAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reports", "monday")
	r := full(4, 30)
	if err := report.Write(dir, r); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(report.Formats) {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Size() == 0 || info.Mode() != 0o644 {
			t.Errorf("%s: %+v, %v", e.Name(), info, err)
		}
	}
	read, err := report.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var written, again bytes.Buffer
	if err := errors.Join(report.JSON(&written, r), report.JSON(&again, read)); err != nil {
		t.Fatal(err)
	}
	if written.String() != again.String() || !reflect.DeepEqual(read.Checks, r.Checks) {
		t.Errorf("read:\n%s\nwritten:\n%s", again.String(), written.String())
	}
	if _, err := report.Read(filepath.Join(dir, "report.json")); err != nil {
		t.Error(err)
	}
}

// What the first version wrote is read.
func TestReadFirstVersion(t *testing.T) {
	r, err := report.Parse([]byte(`{"schema":"erlmcp.loadtest/v1","verdict":"pass","target":"127.0.0.1:8000","driver":"socket",
 "checks":[{"name":"connections","pass":true,"want":"100000","got":"100000"}],
 "connections":{"target":100000,"established":100000,"verified":100000,"failed":0,"dropped":0,"ramp_ms":6100},
 "nodes":[{"name":"erlmcp1","connections":25000,"kernel_connections":25000,
           "latency_us":{"count":5,"min":1,"mean":2,"p50":2,"p90":3,"p99":4,"p999":5,"max":6}}],
 "distribution":{"target_per_node":25000,"tolerance":500,"max_deviation":3},"latency":{"between_nodes_cv_percent":1.1},
 "sticky":{"sampled":1000,"consistent":1000},
 "failover":{"node":"erlmcp2","fault":"kill","detected_ms":40,"rerouted_ms":900,"displaced":25000,"recovered":25000},
 "generator":{"agents":7,"max_lag_us":900},"resources":{"new_part":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	figures := make(map[string]float64)
	for _, f := range report.Figures(r) {
		figures[f.Path()] = f.Value
	}
	for path, want := range map[string]float64{"latency.p99": 4, "node.erlmcp1.latency.max": 6, "failover.rerouted": 900, "connections.verified": 100_000, "sticky.consistent": 100} {
		if figures[path] != want {
			t.Errorf("%s is %v, want %v", path, figures[path], want)
		}
	}
	if len(page(t, r)) == 0 {
		t.Error("no page")
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "is not a report of a load test: it is empty",
		"{":                     "is not a report of a load test: byte 1: unexpected end of JSON input",
		"[]":                    "is not a report of a load test: it is a array",
		"{}":                    `is not a report of a load test: it has no "schema"`,
		`{"schema":"other/v1"}`: `is not a report of a load test that this version reads: its schema is "other/v1", not erlmcp.loadtest/v2 or erlmcp.loadtest/v1`,
		`{"schema":"erlmcp.loadtest/v2","verdict":"fine"}`:                                             `is not a report of a load test: its verdict is "fine"`,
		`{"schema":"erlmcp.loadtest/v2","verdict":"pass","plan":{"connections":"many"}}`:               "is not a report of a load test: plan.connections is a string",
		`{"schema":"erlmcp.loadtest/v2","verdict":"pass","nodes":[{"name":"a","histogram":"SElTVA"}]}`: `has a histogram of node "a" that cannot be read: `,
	} {
		if r, err := report.Parse([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %+v, %v", text, r, err)
		}
	}
	dir := t.TempDir()
	if _, err := report.Read(dir); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "report.json") {
		t.Errorf("an empty directory: %v", err)
	}
	file := filepath.Join(dir, "x.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := report.Read(file); !errors.Is(err, report.ErrNotReport) || !strings.HasPrefix(err.Error(), file+" is not a report") {
		t.Errorf("%v", err)
	}
}

func FuzzParse(f *testing.F) {
	r := reporttest.Run{Seed: 1, Nodes: 2, Hold: 3, Connections: 10, Answers: 50}.Simulate()
	text, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"schema":"erlmcp.loadtest/v1","verdict":"fail","series":{"points":[{},{"at_s":1e300}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := report.Parse(text)
		if err != nil {
			return
		}
		for _, format := range report.Formats { // what is read can be written
			var out bytes.Buffer
			if err := format.Write(&out, r); err != nil {
				t.Errorf("%s: %v", format.Name, err)
			}
		}
	})
}

func TestCSV(t *testing.T) {
	r := full(2, 5)
	r.Nodes[0].Name = "=1+1"
	r.Series.Points[1].ByCause = map[string]int64{"429": 3}
	var figures, series bytes.Buffer
	if err := errors.Join(report.CSV(&figures, r), report.SeriesCSV(&series, r)); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&figures).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, row := range rows {
		found = found || row[0] == "node" && row[1] == "'=1+1" && row[2] == "latency.p99" && row[4] == "us"
	}
	if !found || strings.Join(rows[0], ",") != "group,of,figure,value,unit" {
		t.Errorf("%v", rows)
	}
	points, err := csv.NewReader(&series).ReadAll()
	if err != nil || len(points) != len(r.Series.Points)+1 {
		t.Fatalf("%d rows of %d points, %v", len(points), len(r.Series.Points), err)
	}
	if last := points[0][len(points[0])-3:]; strings.Join(last, ",") != "errors: 429,errors: connection reset,errors: timeout" || points[2][len(points[0])-3] != "3" {
		t.Errorf("%q, %q", points[0], points[2])
	}
}

// Prometheus reads what is written, whatever names are in it.
func TestPrometheus(t *testing.T) {
	r := full(2, 5)
	r.Nodes[0].Name, r.Target = "a\"b\\c\nd\xff", "\xff"
	r.Nodes = append(r.Nodes, r.Nodes[1]) // the same name again
	var text bytes.Buffer
	if err := report.Prometheus(&text, r); err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(&text)
	if err != nil {
		t.Fatal(err)
	}
	p99 := families["erlmcp_loadtest_node_latency_p99_seconds"]
	if p99 == nil || len(p99.Metric) != 2 {
		t.Fatalf("%v", p99)
	}
	if got, want := p99.Metric[1].GetGauge().GetValue(), float64(r.Nodes[1].Latency.P99)/1e6; got != want && p99.Metric[0].GetGauge().GetValue() != want {
		t.Errorf("p99 is %v, want %v", got, want)
	}
	for name, f := range families {
		if !strings.HasPrefix(name, "erlmcp_loadtest_") || f.GetHelp() == "" {
			t.Errorf("%s: %q", name, f.GetHelp())
		}
	}
}

func TestMarkdown(t *testing.T) {
	r := full(2, 5)
	r.Nodes[0].Name = "a|b <img src=x> @everyone [x](y)"
	r.Command = []string{"erlmcp", "loadtest", "it's `x`"}
	var text bytes.Buffer
	if err := report.Markdown(&text, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"### ✅ Load test: pass\n", "| connections | 10000 | 10000 | ok |\n", "| sessions | none lost | - | not judged: the script ends no session |\n",
		`| a\|b &lt;img src=x&gt; @<!-- -->everyone \[x\](y) | 5,000 | 20,000 |`, "| together |  | 40,000 |", "| transport tcp |",
		"Failover (kill erlmcp2): detected after ", "Command: `` erlmcp loadtest 'it'\\''s `x`' ``\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, text.String())
		}
	}
	empty := &loadtest.Report{Verdict: loadtest.Interrupted}
	if err := report.Markdown(&text, empty); err != nil {
		t.Error(err)
	}
}

func TestPrint(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{
		{0, report.Micros, "0"}, {7, report.Micros, "7 µs"}, {999.7, report.Micros, "1.00 ms"}, {41_234, report.Micros, "41.2 ms"}, {2140, report.Millis, "2.14 s"},
		{3600, report.Seconds, "60 min"}, {1536, report.Bytes, "1.50 KiB"}, {0.0058, report.Percent, "0.006 %"}, {1234567, "", "1,234,567"}, {-1234.5, report.PerSecond, "-1,234/s"},
	} {
		if got := report.Print(c.value, c.unit); got != c.want {
			t.Errorf("%v %s: %q, want %q", c.value, c.unit, got, c.want)
		}
	}
}
