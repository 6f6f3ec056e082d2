package proxy

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/erlmcp/erlmcp/proxy/internal/dash"
	"github.com/erlmcp/erlmcp/proxy/internal/guard"
)

// adminHandler serves the admin listener: what is read is open to whoever reaches it, what changes
// something needs the token.
func (m *master) adminHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{stats: m.stats, restarts: m.o.NodeRestarts})
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
	return guard.Hosts(m.hosts, secured(mux))
}

// hosts are the names that the doors may be called by.
func (m *master) hosts() []string { return m.now.Load().spec.Admin.Hosts }

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
	Status      string            `json:"status"`    // "up", "down" or StateDraining
	Nodes       nodesReply        `json:"nodes"`     // up over each transport that a listener needs
	Listeners   map[string]string `json:"listeners"` // "up" or "down": whether new clients find a node there
	Connections int64             `json:"connections"`
}

// nodesReply counts nodes.
type nodesReply struct {
	Up    int `json:"up"`
	Total int `json:"total"`
}

// health judges the listeners for clients by their names, all of them if only is empty.
func (m *master) health(only string) (reply healthReply, known bool) {
	reply = healthReply{Status: "up", Connections: m.board.Active(), Listeners: map[string]string{}}
	nodes := m.members.stats()
	for i := range nodes {
		reply.Nodes.Total++
		reply.Nodes.Up += int(one(nodes[i].State == NodeUp))
	}
	listen := m.now.Load().spec.Listening()
	for _, l := range listen.forClients() {
		if only != "" && only != l.name {
			continue
		}
		reply.Listeners[l.name] = "down"
		if slices.ContainsFunc(nodes, func(n NodeStats) bool { return n.TakesClients(l.name) }) {
			reply.Listeners[l.name] = "up"
		} else {
			reply.Status = "down"
		}
	}
	if m.draining() {
		reply.Status = StateDraining
	}
	return reply, len(reply.Listeners) > 0
}

// healthHandler serves the health listener: 200 while new clients find a node at every listener, or at the
// one that is asked for, and 503 otherwise.
func (m *master) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /nginx_status", m.serveNginxStatus)
	answer := func(w http.ResponseWriter, r *http.Request) {
		reply, known := m.health(r.PathValue("listener"))
		switch {
		case !known:
			http.NotFound(w, r)
		case reply.Status == "up":
			replyJSON(w, http.StatusOK, reply)
		default:
			replyJSON(w, http.StatusServiceUnavailable, reply)
		}
	}
	mux.HandleFunc("GET /health", answer)
	mux.HandleFunc("GET /health/{listener}", answer)
	return guard.LoopbackHosts(m.hosts, mux)
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
