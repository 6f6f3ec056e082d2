package proxy

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector turns Stats into metrics, anew for every scrape.
type collector struct {
	view     func() view
	restarts func() map[string]int
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("erlmcp_lb_"+name, help, labels, nil)
}

// Labels: node and address name a node (a node that moved has two addresses for a while), worker is
// the number of a worker process, reason one of those in RefusedStats or CutStats.
var (
	descInfo       = describe("info", "The balancer's version, value 1.", "version")
	descStart      = describe("start_time_seconds", "When the balancer started, in seconds since 1970.")
	descDraining   = describe("draining", "1 while the balancer takes no new clients.")
	descReloadOK   = describe("config_last_reload_successful", "1 if the last reload, if any, put a configuration into force.")
	descNotAfter   = describe("certificate_not_after_seconds", "When the certificate of the https listener expires, in seconds since 1970.")
	descActive     = describe("connections", "Clients connected.")
	descMax        = describe("connections_max", "Clients that may be connected at a time.")
	descRefused    = describe("refused_connections_total", "Clients turned away, and HTTP requests not answered by a node.", "reason")
	descCut        = describe("cut_total", "Responses, event streams, WebSockets and TCP connections that ended before their end.", "reason")
	descRequests   = describe("http_requests_total", "HTTP requests of clients.")
	descResponses  = describe("http_responses_total", "HTTP responses to clients, by the class of their status.", "class")
	descMethods    = describe("http_requests_by_mcp_method_total", "HTTP POST requests forwarded, by their MCP method.", "method")
	descThrottles  = describe("throttles_total", "Pauses of clients over the message rate.")
	descThrottled  = describe("throttled_seconds_total", "Length of those pauses.")
	descRejects    = describe("rejected_messages_total", "Messages answered with an error for being over the rate.")
	descAccessLost = describe("access_log_dropped_lines_total", "Lines of the access log that were lost.")
	descTracked    = describe("sources", "Client addresses remembered.")
	descCapacity   = describe("sources_max", "Client addresses that can be remembered.")
	descOverflows  = describe("source_overflows_total", "Look-ups of a client address that found no room, and shared it.")
	descEvictions  = describe("source_evictions_total", "Client addresses forgotten early, for the sake of others.")
	descBanned     = describe("banned_sources", "Client addresses banned.")
	descAccepted   = describe("worker_accepted_connections_total", "Clients accepted, refused ones included.", "worker")
	descHeld       = describe("worker_connections", "Clients connected.", "worker")
	descWorkerMsgs = describe("worker_messages_total", "Messages from clients.", "worker")
	descRestarts   = describe("worker_restarts_total", "Times the process was replaced.", "worker")
	descResident   = describe("worker_resident_memory_bytes", "Resident memory, shared pages included.", "worker")
	descLag        = describe("worker_loop_lag_seconds", "How late the event loop last woke.", "worker")
	descNodeUp     = describe("node_up", "1 if the node is up over all its transports, draining included.", "node", "address")

	descNodeRestarts = prometheus.NewDesc("erlmcp_cluster_node_restarts_total", "How often the supervisor of this state directory has started the node again, by itself.", []string{"node"}, nil)

	descTransportUp    = describe("node_transport_up", "1 if the node is up over the transport, draining included.", "node", "address", "transport")
	descTransportCheck = describe("node_transport_check_successful", "1 if the last active check of the transport succeeded.", "node", "address", "transport")
	descNodeState      = describe("node_state", "1 for the state the node is in.", "node", "address", "state")
	descWeight         = describe("node_weight", "Weight of this moment, slow start included.", "node", "address")
	descNodeActive     = describe("node_connections", "Connections to the node.", "node", "address")
	descNodeMax        = describe("node_connections_max", "Connections the node may get.", "node", "address")
	descNodeTotal      = describe("node_connections_total", "Connections made to the node.", "node", "address")
	descBytesIn        = describe("node_sent_bytes_total", "Bytes from clients to the node.", "node", "address")
	descBytesOut       = describe("node_received_bytes_total", "Bytes from the node to clients.", "node", "address")
	descMessages       = describe("node_messages_total", "Messages from clients to the node.", "node", "address")
	descConnectErrs    = describe("node_connect_errors_total", "Connections to the node that failed.", "node", "address")
	descResets         = describe("node_resets_total", "Connections cut by the node.", "node", "address")
	descRetries        = describe("node_retries_total", "Clients that went to another node instead.", "node", "address")
	descDisplaced      = describe("node_displaced_connections_total", "Clients cut off because the node went down.", "node", "address")
	descChanges        = describe("node_state_changes_total", "Changes of the node's state.", "node", "address")
	descCheckOK        = describe("node_check_successful", "1 if the last active check succeeded.", "node", "address")
	descCheckTime      = describe("node_check_latency_seconds", "Latency of the last active check that succeeded.", "node", "address")
	descDetected       = describe("node_detection_seconds", "From the first sign of trouble to the node being marked down, the last time.", "node", "address")
	descConnectTime    = describe("node_connect_seconds", "Time to connect to the node. The sum is estimated from the buckets.", "node", "address")
	descNodeReqs       = describe("node_http_requests_total", "HTTP requests sent to the node.", "node", "address")
	descNodeResps      = describe("node_http_responses_total", "HTTP responses of the node, by the class of their status.", "node", "address", "class")
	descAnswerTime     = describe("node_http_response_seconds", "Time from an HTTP request to the head of its response. The sum is estimated from the buckets.", "node", "address")
)

// statusClasses are the values of the label class, in the order of Responses.
var statusClasses = [5]string{"1xx", "2xx", "3xx", "4xx", "5xx"}

// Describe announces no metrics in advance: nodes come and go.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the stats once and sends them as metrics.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.view()
	e := emitter{out: out}
	e.gauge(descInfo, 1, s.Version)
	e.gauge(descStart, float64(s.Time.UnixNano())/1e9-s.UptimeSeconds)
	e.gauge(descDraining, one(s.State == StateDraining))
	e.gauge(descReloadOK, one(s.Reload == nil || s.Reload.OK))
	if s.Certificate != nil {
		e.gauge(descNotAfter, float64(s.Certificate.NotAfter.Unix()))
	}
	e.gauge(descActive, float64(s.Connections.Active))
	e.gauge(descMax, float64(s.Connections.Max))
	s.Refused.each(func(reason string, n uint64) { e.counter(descRefused, n, reason) })
	s.Cut.each(func(reason string, n uint64) { e.counter(descCut, n, reason) })
	e.counter(descRequests, s.HTTP.Requests)
	for i, n := range s.HTTP.Responses.each() {
		e.counter(descResponses, n, statusClasses[i])
	}
	for method, n := range s.HTTP.Methods {
		e.counter(descMethods, n, method)
	}
	e.counter(descThrottles, s.Throttles)
	e.add(descThrottled, prometheus.CounterValue, s.ThrottledSeconds)
	e.counter(descRejects, s.Rejects)
	e.counter(descAccessLost, s.AccessLogDropped)
	e.gauge(descTracked, float64(s.Sources.Tracked))
	e.gauge(descCapacity, float64(s.Sources.Capacity))
	e.counter(descOverflows, s.Sources.Overflows)
	e.counter(descEvictions, s.Sources.Evictions)
	e.gauge(descBanned, float64(s.Sources.Banned))
	for i := range s.Workers {
		e.worker(&s.Workers[i])
	}
	for i := range s.Nodes {
		e.node(&s.Nodes[i], &s.nodes[i])
	}
	for node, n := range c.restarts() {
		e.counter(descNodeRestarts, uint64(n), node)
	}
}

// emitter sends constant metrics.
type emitter struct{ out chan<- prometheus.Metric }

func (e emitter) add(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
	e.out <- prometheus.MustNewConstMetric(d, t, v, labels...)
}

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.add(d, prometheus.GaugeValue, v, labels...)
}

func (e emitter) counter(d *prometheus.Desc, v uint64, labels ...string) {
	e.add(d, prometheus.CounterValue, float64(v), labels...)
}

func (e emitter) worker(w *WorkerStats) {
	name := strconv.Itoa(w.Index)
	e.counter(descAccepted, w.Accepted, name)
	e.gauge(descHeld, float64(w.Active), name)
	e.counter(descWorkerMsgs, w.Messages, name)
	e.counter(descRestarts, w.Restarts, name)
	e.gauge(descResident, float64(w.RSSBytes), name)
	e.gauge(descLag, float64(w.LoopLagUs)/1e6, name)
}

func (e emitter) node(n *NodeStats, v *nodeView) {
	labels := []string{n.Name, n.Address}
	for _, state := range []string{NodeUp, NodeSilent, NodeDegraded, NodeDown, NodeDraining, NodeMaintenance} {
		e.gauge(descNodeState, one(n.State == state), n.Name, n.Address, state)
	}
	e.gauge(descNodeUp, one(n.State == NodeUp || n.State == NodeDraining), labels...)
	for i := range n.Transports {
		t := &n.Transports[i]
		e.gauge(descTransportUp, one(t.State == NodeUp || t.State == NodeDraining), n.Name, n.Address, t.Name)
		e.gauge(descTransportCheck, one(t.Check.OK), n.Name, n.Address, t.Name)
	}
	e.gauge(descWeight, n.Weight, labels...)
	e.gauge(descNodeActive, float64(n.Connections), labels...)
	e.gauge(descNodeMax, float64(n.MaxConnections), labels...)
	e.counter(descNodeTotal, n.Total, labels...)
	e.counter(descBytesIn, n.BytesIn, labels...)
	e.counter(descBytesOut, n.BytesOut, labels...)
	e.counter(descMessages, n.Messages, labels...)
	e.counter(descConnectErrs, n.ConnectErrors, labels...)
	e.counter(descResets, n.Resets, labels...)
	e.counter(descRetries, n.Retries, labels...)
	e.counter(descDisplaced, n.Displaced, labels...)
	e.counter(descChanges, n.StateChanges, labels...)
	e.gauge(descCheckOK, one(n.Check.OK), labels...)
	e.gauge(descCheckTime, float64(n.Check.LatencyUs)/1e6, labels...)
	e.gauge(descDetected, n.Check.DetectedMs/1e3, labels...)
	e.counter(descNodeReqs, n.Requests, labels...)
	for i, count := range n.Responses.each() {
		e.counter(descNodeResps, count, n.Name, n.Address, statusClasses[i])
	}
	e.out <- histogram(descConnectTime, v.connects, labels)
	e.out <- histogram(descAnswerTime, v.answers, labels)
}

// histogram turns the board's buckets, powers of two in µs, into those of Prometheus.
func histogram(desc *prometheus.Desc, counts []uint64, labels []string) prometheus.Metric {
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
