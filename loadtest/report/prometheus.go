package report

import (
	"cmp"
	"io"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/erlmcp/erlmcp/loadtest"
)

// Prometheus writes the figures in the text format, for the textfile collector. All are gauges in base units, named as the
// figures are: latency.p99 of node a is erlmcp_loadtest_node_latency_p99_seconds{node="a"}.
func Prometheus(out io.Writer, r *loadtest.Report) error {
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(gauges{r}); err != nil {
		return err
	}
	families, err := registry.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(out, f); err != nil {
			return err
		}
	}
	return nil
}

// gauges are the metrics of a report.
type gauges struct{ report *loadtest.Report }

// Describe announces no metrics in advance: each report has its own.
func (gauges) Describe(chan<- *prometheus.Desc) {}

// Collect sends them. Where names occur twice, the first counts.
func (g gauges) Collect(out chan<- prometheus.Metric) {
	r := g.report
	send := func(name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, strings.ToValidUTF8(labels[i+1], "\uFFFD"))
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("erlmcp_loadtest_"+name, help, names, nil), prometheus.GaugeValue, value, values...)
	}
	send("info", "What the load test was, value 1.", 1,
		"verdict", string(r.Verdict), "target", r.Target, "driver", r.Driver, "version", r.Version)
	send("start_time_seconds", "When the load test started, in seconds since 1970.", float64(r.Started.UnixMilli())/1e3)
	send("duration_seconds", "How long it took.", r.DurationS)
	for _, v := range []loadtest.Verdict{loadtest.Pass, loadtest.Fail, loadtest.Inconclusive, loadtest.Interrupted} {
		send("verdict", "1 for how it ended.", map[bool]float64{true: 1}[v == r.Verdict], "verdict", string(v))
	}
	sent := make(map[string]bool)
	for _, f := range Figures(r) {
		path := f.Path()
		if sent[path] {
			continue
		}
		sent[path] = true
		name, unit, value := strings.ReplaceAll(f.Name, ".", "_"), f.Unit, f.Value
		switch f.Unit {
		case Micros:
			unit, value = "seconds", value/1e6
		case Millis:
			unit, value = "seconds", value/1e3
		case Seconds:
			unit = "seconds"
		}
		if unit != "" {
			name += "_" + unit
		}
		var labels []string
		if f.Group != "" {
			name, labels = f.Group+"_"+name, []string{f.Group, f.Of}
		}
		send(name, help(f), value, labels...)
	}
}

// help says in words what a figure is.
func help(f Figure) string {
	of := map[string]string{
		"": "the whole run", "node": "one node", "transport": "one transport", "step": "one step of the script", "stage": "one stage of the set-up",
		"straight": "one node without the balancer, not loaded", "cause": "one cause",
	}[f.Group]
	return "The figure " + f.Name + " of " + cmp.Or(of, f.Group) + "."
}
