package admin

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/erlmcp/erlmcp/proxy"
)

// collector turns what a balancer shows into metrics, anew for every scrape.
type collector struct {
	view     func() View
	restarts func() map[string]int
}

// Labels: node and address name a node (a node that moved has two addresses for a while), worker is
// the number of a worker process, reason one of those in RefusedStats or CutStats.
var (
	descInfo         = describe("info", "The balancer's version, value 1.", "version")
	descNotAfter     = describe("certificate_not_after_seconds", "When the certificate of the https listener expires, in seconds since 1970.")
	descRefused      = describe("refused_connections_total", "Clients turned away, and HTTP requests not answered by a node.", "reason")
	descCut          = describe("cut_total", "Responses, event streams, WebSockets and TCP connections that ended before their end.", "reason")
	descResponses    = describe("http_responses_total", "HTTP responses to clients, by the class of their status.", "class")
	descMethods      = describe("http_requests_by_mcp_method_total", "HTTP POST requests forwarded, by their MCP method.", "method")
	descNodeRestarts = prometheus.NewDesc("erlmcp_cluster_node_restarts_total", "How often the supervisor of this state directory has started the node again, by itself.", []string{"node"}, nil)
	descNodeState    = describe("node_state", "1 for the state the node is in.", "node", "address", "state")
	descConnectTime  = describe("node_connect_seconds", "Time to connect to the node. The sum is estimated from the buckets.", "node", "address")
	descNodeResps    = describe("node_http_responses_total", "HTTP responses of the node, by the class of their status.", "node", "address", "class")
	descAnswerTime   = describe("node_http_response_seconds", "Time from an HTTP request to the head of its response. The sum is estimated from the buckets.", "node", "address")
)

var ofBalancer = []measure[View]{
	number("start_time_seconds", "When the balancer started, in seconds since 1970.", func(v *View) float64 { return float64(v.Time.UnixNano())/1e9 - v.UptimeSeconds }),
	number("draining", "1 while the balancer takes no new clients.", func(v *View) float64 { return one(v.State == proxy.StateDraining) }),
	number("config_last_reload_successful", "1 if the last reload, if any, put a configuration into force.", func(v *View) float64 { return one(v.Reload == nil || v.Reload.OK) }),
	number("connections", "Clients connected.", func(v *View) float64 { return float64(v.Connections.Active) }),
	number("connections_max", "Clients that may be connected at a time.", func(v *View) float64 { return float64(v.Connections.Max) }),
	number("http_requests_total", "HTTP requests of clients.", func(v *View) float64 { return float64(v.HTTP.Requests) }),
	number("throttles_total", "Pauses of clients over the message rate.", func(v *View) float64 { return float64(v.Throttles) }),
	number("throttled_seconds_total", "Length of those pauses.", func(v *View) float64 { return v.ThrottledSeconds }),
	number("rejected_messages_total", "Messages answered with an error for being over the rate.", func(v *View) float64 { return float64(v.Rejects) }),
	number("access_log_dropped_lines_total", "Lines of the access log that were lost.", func(v *View) float64 { return float64(v.AccessLogDropped) }),
	number("sources", "Client addresses remembered.", func(v *View) float64 { return float64(v.Sources.Tracked) }),
	number("sources_max", "Client addresses that can be remembered.", func(v *View) float64 { return float64(v.Sources.Capacity) }),
	number("source_overflows_total", "Look-ups of a client address that found no room, and shared it.", func(v *View) float64 { return float64(v.Sources.Overflows) }),
	number("source_evictions_total", "Client addresses forgotten early, for the sake of others.", func(v *View) float64 { return float64(v.Sources.Evictions) }),
	number("banned_sources", "Client addresses banned.", func(v *View) float64 { return float64(v.Sources.Banned) }),
}

var ofWorker = []measure[proxy.WorkerStats]{
	number("worker_accepted_connections_total", "Clients accepted, refused ones included.", func(w *proxy.WorkerStats) float64 { return float64(w.Accepted) }, "worker"),
	number("worker_connections", "Clients connected.", func(w *proxy.WorkerStats) float64 { return float64(w.Active) }, "worker"),
	number("worker_messages_total", "Messages from clients.", func(w *proxy.WorkerStats) float64 { return float64(w.Messages) }, "worker"),
	number("worker_restarts_total", "Times the process was replaced.", func(w *proxy.WorkerStats) float64 { return float64(w.Restarts) }, "worker"),
	number("worker_resident_memory_bytes", "Resident memory, shared pages included.", func(w *proxy.WorkerStats) float64 { return float64(w.RSSBytes) }, "worker"),
	number("worker_loop_lag_seconds", "How late the event loop last woke.", func(w *proxy.WorkerStats) float64 { return float64(w.LoopLagUs) / 1e6 }, "worker"),
}

var ofNode = []measure[proxy.NodeStats]{
	number("node_up", "1 if the node is up over all its transports, draining included.", func(n *proxy.NodeStats) float64 { return one(n.State == proxy.NodeUp || n.State == proxy.NodeDraining) }, "node", "address"),
	number("node_weight", "Weight of this moment, slow start included.", func(n *proxy.NodeStats) float64 { return n.Weight }, "node", "address"),
	number("node_connections", "Connections to the node.", func(n *proxy.NodeStats) float64 { return float64(n.Connections) }, "node", "address"),
	number("node_connections_max", "Connections the node may get.", func(n *proxy.NodeStats) float64 { return float64(n.MaxConnections) }, "node", "address"),
	number("node_connections_total", "Connections made to the node.", func(n *proxy.NodeStats) float64 { return float64(n.Total) }, "node", "address"),
	number("node_sent_bytes_total", "Bytes from clients to the node.", func(n *proxy.NodeStats) float64 { return float64(n.BytesIn) }, "node", "address"),
	number("node_received_bytes_total", "Bytes from the node to clients.", func(n *proxy.NodeStats) float64 { return float64(n.BytesOut) }, "node", "address"),
	number("node_messages_total", "Messages from clients to the node.", func(n *proxy.NodeStats) float64 { return float64(n.Messages) }, "node", "address"),
	number("node_connect_errors_total", "Connections to the node that failed.", func(n *proxy.NodeStats) float64 { return float64(n.ConnectErrors) }, "node", "address"),
	number("node_resets_total", "Connections cut by the node.", func(n *proxy.NodeStats) float64 { return float64(n.Resets) }, "node", "address"),
	number("node_retries_total", "Clients that went to another node instead.", func(n *proxy.NodeStats) float64 { return float64(n.Retries) }, "node", "address"),
	number("node_displaced_connections_total", "Clients cut off because the node went down.", func(n *proxy.NodeStats) float64 { return float64(n.Displaced) }, "node", "address"),
	number("node_state_changes_total", "Changes of the node's state.", func(n *proxy.NodeStats) float64 { return float64(n.StateChanges) }, "node", "address"),
	number("node_check_successful", "1 if the last active check succeeded.", func(n *proxy.NodeStats) float64 { return one(n.Check.OK) }, "node", "address"),
	number("node_check_latency_seconds", "Latency of the last active check that succeeded.", func(n *proxy.NodeStats) float64 { return float64(n.Check.LatencyUs) / 1e6 }, "node", "address"),
	number("node_detection_seconds", "From the first sign of trouble to the node being marked down, the last time.", func(n *proxy.NodeStats) float64 { return n.Check.DetectedMs / 1e3 }, "node", "address"),
	number("node_http_requests_total", "HTTP requests sent to the node.", func(n *proxy.NodeStats) float64 { return float64(n.Requests) }, "node", "address"),
}

var ofTransport = []measure[proxy.TransportStats]{
	number("node_transport_up", "1 if the node is up over the transport, draining included.", func(t *proxy.TransportStats) float64 {
		return one(t.State == proxy.NodeUp || t.State == proxy.NodeDraining)
	}, "node", "address", "transport"),
	number("node_transport_check_successful", "1 if the last active check of the transport succeeded.", func(t *proxy.TransportStats) float64 { return one(t.Check.OK) }, "node", "address", "transport"),
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("erlmcp_lb_"+name, help, labels, nil)
}

// measure is a metric with one number for each T.
type measure[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*T) float64
}

// number makes a measure: a counter if its name ends like one, or else a gauge.
func number[T any](name, help string, of func(*T) float64, labels ...string) measure[T] {
	m := measure[T]{describe(name, help, labels...), prometheus.GaugeValue, of}
	if strings.HasSuffix(name, "_total") {
		m.kind = prometheus.CounterValue
	}
	return m
}

// send sends all that is measured of v.
func send[T any](out chan<- prometheus.Metric, list []measure[T], v *T, labels ...string) {
	for _, m := range list {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(v), labels...)
	}
}

// statusClasses are the values of the label class, in the order of Responses.
var statusClasses = [5]string{"1xx", "2xx", "3xx", "4xx", "5xx"}

// Describe announces no metrics in advance: nodes come and go.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the stats once and sends them as metrics.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	v := c.view()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	send(out, ofBalancer, &v)
	gauge(descInfo, 1, v.Version)
	if v.Certificate != nil {
		gauge(descNotAfter, float64(v.Certificate.NotAfter.Unix()))
	}
	v.Refused.Each(func(reason string, n uint64) { counter(descRefused, n, reason) })
	v.Cut.Each(func(reason string, n uint64) { counter(descCut, n, reason) })
	for i, n := range v.HTTP.Responses.Each() {
		counter(descResponses, n, statusClasses[i])
	}
	for method, n := range v.HTTP.Methods {
		counter(descMethods, n, method)
	}
	for i := range v.Workers {
		send(out, ofWorker, &v.Workers[i], strconv.Itoa(v.Workers[i].Index))
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		send(out, ofNode, n, n.Name, n.Address)
		for j := range n.Transports {
			send(out, ofTransport, &n.Transports[j], n.Name, n.Address, n.Transports[j].Name)
		}
		for _, state := range []string{proxy.NodeUp, proxy.NodeSilent, proxy.NodeDegraded, proxy.NodeDown, proxy.NodeDraining, proxy.NodeMaintenance} {
			gauge(descNodeState, one(n.State == state), n.Name, n.Address, state)
		}
		for j, count := range n.Responses.Each() {
			counter(descNodeResps, count, n.Name, n.Address, statusClasses[j])
		}
		out <- histogram(descConnectTime, v.Details[i].Connects, n.Name, n.Address)
		out <- histogram(descAnswerTime, v.Details[i].Answers, n.Name, n.Address)
	}
	for node, n := range c.restarts() {
		counter(descNodeRestarts, uint64(n), node)
	}
}

// histogram turns the board's buckets, powers of two in µs, into those of Prometheus.
func histogram(desc *prometheus.Desc, counts []uint64, labels ...string) prometheus.Metric {
	var total uint64
	var sum float64
	buckets := make(map[float64]uint64, len(counts))
	for i, n := range counts {
		upper := (time.Microsecond << i).Seconds()
		total += n
		sum += float64(n) * upper * 0.75 // the middle of the bucket
		if i < len(counts)-1 {
			buckets[upper] = total
		}
	}
	return prometheus.MustNewConstHistogram(desc, total, sum, buckets, labels...)
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
