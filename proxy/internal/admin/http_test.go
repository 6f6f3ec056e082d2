package admin

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// webStats is what a balancer with a node counts that has answered n requests, a tenth of them with 500.
func webStats(at time.Time, n uint64) View {
	times := make([]uint64, board.ConnectBuckets)
	times[11] = n // 1 to 2 ms
	responses := proxy.Responses{Successful: n - n/10, ServerError: n / 10}
	return View{Stats: proxy.Stats{
		Time:    at,
		HTTP:    proxy.HTTPStats{Requests: n, Responses: responses},
		Nodes:   []proxy.NodeStats{{Name: "a", Address: "127.0.0.1:1", Requests: n, Responses: responses}},
		Refused: proxy.RefusedStats{NodeTimeout: 7}, AccessLogDropped: 5,
		Listeners: []proxy.ListenerStats{{Name: proxy.ListenHTTP}},
	}, Details: []NodeView{{Connects: make([]uint64, board.ConnectBuckets), Answers: times}}}
}

func TestCSVOfHTTP(t *testing.T) {
	s := webStats(time.Unix(1000, 0), 100).Stats
	s.Rates.Requests = 3
	s.Nodes[0].Latency = proxy.Latency{Count: 1, Mean: 2400}
	second := s.Nodes[0]
	second.Responses, second.Requests = proxy.Responses{}, 0
	second.Latency, second.Connect = proxy.Latency{Count: 3, Mean: 10_000}, proxy.Latency{Count: 1, Mean: 3000}
	s.Nodes = append(s.Nodes, second)
	spec := proxy.Default()
	for name, c := range map[string]struct{ row, want csvRow }{
		"frontend": {webFrontendRows(&s, Peak{Requests: 8})[0], csvRow{"pxname": "http", "req_rate": "3", "req_rate_max": "8", "req_tot": "100", "hrsp_2xx": "90", "hrsp_5xx": "10"}},
		"server":   {serverRow(&s.Nodes[0], s.Time, 1, &spec.Checks, Peak{}), csvRow{"req_tot": "100", "hrsp_5xx": "10", "hrsp_other": "0", "rtime": "2", "ctime": "", "qtime": "", "ttime": ""}},
		"backend":  {backendRow(&s, &spec, Peak{}), csvRow{"req_tot": "100", "hrsp_2xx": "90", "rtime": "8", "ctime": "3", "qtime": "", "ttime": ""}},
	} {
		for column, want := range c.want {
			if got := c.row[column]; got != want {
				t.Errorf("%s: %s is %q, want %q", name, column, got, want)
			}
		}
		for column := range c.row {
			if !slices.Contains(csvColumns, column) {
				t.Errorf("%s: no column %s", name, column)
			}
		}
	}
}

// The text of /metrics is read by the parser of those who scrape it.
func TestMetricsText(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{func() View { return webStats(time.Unix(1000, 0), 100) }, noRestarts})
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	counter := func(name string, labels map[string]string) float64 {
		t.Helper()
	metrics:
		for _, m := range families["erlmcp_lb_"+name].GetMetric() {
			for _, l := range m.GetLabel() {
				if want, ok := labels[l.GetName()]; ok && want != l.GetValue() {
					continue metrics
				}
			}
			return m.GetCounter().GetValue()
		}
		t.Errorf("no %s of %v", name, labels)
		return 0
	}
	for _, c := range []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{"http_requests_total", nil, 100},
		{"http_responses_total", map[string]string{"class": "5xx"}, 10},
		{"node_http_responses_total", map[string]string{"class": "2xx", "node": "a"}, 90},
		{"refused_connections_total", map[string]string{"reason": "node_timeout"}, 7},
		{"access_log_dropped_lines_total", nil, 5},
	} {
		if got := counter(c.name, c.labels); got != c.want {
			t.Errorf("%s of %v is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	f := families["erlmcp_lb_node_http_response_seconds"]
	if f == nil {
		t.Fatal("no histogram of answer times")
	}
	h := f.GetMetric()[0].GetHistogram()
	for _, b := range h.GetBucket() {
		want := uint64(0)
		if b.GetUpperBound() >= 2.048e-3 {
			want = 100
		}
		if b.GetCumulativeCount() != want {
			t.Errorf("%d within %v s, want %d", b.GetCumulativeCount(), b.GetUpperBound(), want)
		}
	}
	if h.GetSampleCount() != 100 {
		t.Errorf("%d samples", h.GetSampleCount())
	}
}

// Requests are counted in one row, whatever listens.
func TestCSVOfListeners(t *testing.T) {
	for _, c := range []struct{ listeners, rows []string }{
		{[]string{proxy.ListenTCP}, nil},
		{[]string{proxy.ListenTCP, proxy.ListenHTTP}, []string{"http 100 "}},
		{[]string{proxy.ListenTCP, proxy.ListenHTTPS}, []string{"https 100 6"}},
		{[]string{proxy.ListenTCP, proxy.ListenHTTP, proxy.ListenHTTPS}, []string{"http 100 ", "https  6"}},
	} {
		s := webStats(time.Unix(1000, 0), 100).Stats
		s.Refused.Handshake, s.Listeners = 6, nil
		for _, name := range c.listeners {
			s.Listeners = append(s.Listeners, proxy.ListenerStats{Name: name})
		}
		var rows []string
		for _, row := range webFrontendRows(&s, Peak{}) {
			rows = append(rows, row["pxname"]+" "+row["req_tot"]+" "+row["ssl_failed_handshake"])
		}
		if !slices.Equal(rows, c.rows) {
			t.Errorf("%v: rows %q, want %q", c.listeners, rows, c.rows)
		}
	}
}

func TestCheckCode(t *testing.T) {
	for want, c := range map[string]proxy.CheckStats{
		"L4OK":    {Kind: "tcp", OK: true},
		"L7OK":    {Kind: "mcp", OK: true},
		"L4CON":   {Kind: "mcp", Cause: "refused"},
		"L4TOUT":  {Kind: "tcp", Cause: "unreachable"},
		"L7TOUT":  {Kind: "mcp", Cause: "timeout"},
		"L7RSP":   {Kind: "mcp", Cause: "protocol"},
		"SOCKERR": {Kind: "mcp", Cause: "local"},
	} {
		if got, text := checkCode(&c); got != want || text == "" {
			t.Errorf("%+v: got %s, %q; want %s", c, got, text, want)
		}
	}
}
