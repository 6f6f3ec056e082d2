package healthcheck

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func exportedReport() *Report {
	total, one, deviation := 7, 7, 2
	return &Report{
		Status: StatusDegraded, Reasons: []string{"two is down (a|b)\nreally"}, Time: time.Unix(1700000000, 0),
		Nodes: []NodeHealth{
			{Name: "one", Status: NodeUp, Connections: &one, Checks: []Result{{Kind: "tcp", OK: true, Latency: 80 * time.Microsecond}}},
			{Name: `t"w'o`, Status: NodeDown, Checks: []Result{{Kind: "tcp", Cause: CauseRefused}}},
		},
		Connections: Connections{Total: &total, Capacity: 10, MaxDeviation: &deviation},
	}
}

func TestNagios(t *testing.T) {
	r := exportedReport()
	want := "ERLMCP WARNING - two is down (a/b) really | nodes_up=1;;;0;2 connections=7;;;0;10 max_deviation=2;;;0 " +
		"'one_connections'=7;;;0 'one_tcp'=0.000080s;;;0\n"
	if got := r.Nagios(); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if got, want := NagiosUnknown("no | file\nat all"), "ERLMCP UNKNOWN - no / file at all\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	unknown := Report{Status: StatusUnknown}
	if got, want := unknown.Nagios(), "ERLMCP UNKNOWN - 0 of 0 nodes up | nodes_up=0;;;0;0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPrometheus(t *testing.T) {
	r := exportedReport()
	r.Cluster = &Cluster{Nodes: []ClusterNode{{Name: "one", Restarts: 3}}}
	got := r.Prometheus()
	for _, want := range []string{
		"# HELP erlmcp_health_status 0 healthy, 1 degraded, 2 down, 3 unknown.\n# TYPE erlmcp_health_status gauge\nerlmcp_health_status 1\n",
		"erlmcp_health_timestamp_seconds 1700000000\n",
		"erlmcp_health_load_balancer_up 0\n",
		"erlmcp_health_connections 7\n",
		"# TYPE erlmcp_health_node_restarts_total counter\nerlmcp_health_node_restarts_total{node=\"one\"} 3\n",
		"erlmcp_health_node_up{node=\"one\"} 1\nerlmcp_health_node_up{node=\"t\\\"w'o\"} 0\n",
		"erlmcp_health_check_success{node=\"one\",kind=\"tcp\"} 1\n",
		"erlmcp_health_check_latency_seconds{node=\"one\",kind=\"tcp\"} 8e-05\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation) // of those who scrape it
	families, err := parser.TextToMetricFamilies(strings.NewReader(got))
	if up := families["erlmcp_health_node_up"].GetMetric(); err != nil || len(up) != 2 || up[1].GetLabel()[0].GetValue() != r.Nodes[1].Name {
		t.Errorf("it is read as %v, %v", families, err)
	}
	if strings.Contains(got, "erlmcp_health_clients") || strings.Count(got, "erlmcp_health_node_connections{") != 1 {
		t.Errorf("a sample of what is not known:\n%s", got)
	}
}
