package proxy

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const adminIndex = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>erlmcp load balancer</title>
<h1>erlmcp load balancer</h1>
<ul>
<li><a href="/stats.json">/stats.json</a> what it is doing, as JSON
<li><a href="/metrics">/metrics</a> the same for Prometheus
</ul>
`

// adminHandler serves the admin listener. Everything on it only reads.
func (m *master) adminHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{stats: m.stats})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, adminIndex)
	})
	mux.HandleFunc("GET /stats.json", func(w http.ResponseWriter, _ *http.Request) { replyJSON(w, http.StatusOK, m.stats()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux
}

// healthReply is the body of /health.
type healthReply struct {
	Status string `json:"status"` // "up", "down" or StateDraining
	Nodes  struct {
		Up    int `json:"up"`
		Total int `json:"total"`
	} `json:"nodes"`
	Connections int64 `json:"connections"`
}

// healthHandler serves the health listener: 200 while new clients find a node, 503 otherwise.
func (m *master) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		reply := healthReply{Status: "up", Connections: m.board.Active()}
		for _, n := range m.members.stats() {
			reply.Nodes.Total++
			if n.State == NodeUp {
				reply.Nodes.Up++
			}
		}
		status := http.StatusOK
		switch {
		case m.draining():
			reply.Status, status = StateDraining, http.StatusServiceUnavailable
		case reply.Nodes.Up == 0:
			reply.Status, status = "down", http.StatusServiceUnavailable
		}
		replyJSON(w, status, reply)
	})
	return mux
}

// replyJSON answers with what was true a moment ago.
func replyJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client has gone
}
