package proxy

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/erlmcp/erlmcp/proxy/internal/dash"
	"github.com/erlmcp/erlmcp/proxy/internal/guard"
)

// adminHandler serves the admin listener: what is read is open to whoever reaches it, what changes
// something needs the token.
func (m *master) adminHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{stats: m.stats})
	mux := http.NewServeMux()
	page := dash.Page()
	mux.Handle("GET /{$}", page)
	mux.Handle("GET /stats", page)
	mux.Handle("GET /assets/", dash.Assets())
	mux.Handle("GET /events", newEvents(m))
	mux.HandleFunc("GET /stats.json", func(w http.ResponseWriter, _ *http.Request) { replyJSON(w, http.StatusOK, m.stats()) })
	mux.HandleFunc("GET /stats;csv", m.serveCSV)
	mux.HandleFunc("GET /;csv", m.serveCSV)
	mux.HandleFunc("GET /nginx_status", m.serveNginxStatus)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.Handle("/api/", guard.SameOrigin(m.token.Require(m.adminAPI())))
	return guard.Hosts(func() []string { return m.now.Load().spec.Admin.Hosts }, secured(mux))
}

// secured keeps browsers from guessing types, framing, keeping and leaking what is answered.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Content-Security-Policy", dash.ContentSecurityPolicy)
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
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
	mux.HandleFunc("GET /nginx_status", m.serveNginxStatus)
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
