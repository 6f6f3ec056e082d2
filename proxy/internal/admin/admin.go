// Package admin serves the pages of the balancer: dashboard, statistics, metrics, health, and the commands of operators. It
// sees the balancer through an interface.
package admin

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/dash"
	"github.com/erlmcp/erlmcp/proxy/internal/guard"
)

// Balancer is what the pages show, and command. Its methods may be called from any goroutine.
type Balancer interface {
	Spec() proxy.Spec // in force
	// Counts are read from shared memory: state, connections, nodes, and what is counted since the start. messages are
	// those of all workers, of past ones too.
	Counts() (s proxy.Stats, messages uint64)
	View() View
	History() History
	Next() <-chan struct{} // closed when there is something newer than now
	FirstBans(most int) []proxy.BanStatus
	NodeRestarts() map[string]int // nil where nobody can tell

	Administer(node string, to Setting) (*proxy.NodeStats, error)
	Unban(source netip.Prefix) error
}

// View is the balancer at one moment.
type View struct {
	proxy.Stats
	Peak    Peak
	Details []NodeView // beside those of Stats, in their order
}

// NodeView is what is shown of a node beyond its NodeStats.
type NodeView struct {
	Connects, Answers []uint64 // histograms of times, see board.ConnectBuckets
	Peak              Peak
}

// Peak holds highest values, as far as looks once a second see them.
type Peak struct {
	Connections int64
	Rate        float64 // new connections a second
	Requests    float64 // HTTP requests a second
}

// Handler serves the admin listener: what is read is open to whoever reaches it, what changes
// something needs the token.
func Handler(b Balancer, token guard.Token) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{b.View, b.NodeRestarts})
	mux := http.NewServeMux()
	page := dash.Page()
	mux.Handle("GET /{$}", page)
	mux.Handle("GET /stats", page)
	mux.Handle("GET /assets/", dash.Assets())
	mux.Handle("GET /events", newEvents(b))
	mux.HandleFunc("GET /stats.json", func(w http.ResponseWriter, _ *http.Request) { replyJSON(w, http.StatusOK, b.View().Stats) })
	mux.Handle("GET /stats;csv", serveCSV(b))
	mux.Handle("GET /;csv", serveCSV(b))
	mux.Handle("GET /nginx_status", serveNginxStatus(b))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.Handle("/api/", guard.SameOrigin(token.Require(adminAPI(b))))
	return guard.Hosts(hosts(b), secured(mux))
}

// hosts are the names that the doors may be called by.
func hosts(b Balancer) func() []string { return func() []string { return b.Spec().Admin.Hosts } }

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

// healthOf judges the listeners for clients by their names, all of them if only is empty.
func healthOf(b Balancer, only string) (reply healthReply, known bool) {
	s, _ := b.Counts()
	reply = healthReply{Status: "up", Connections: s.Connections.Active, Listeners: map[string]string{}}
	for i := range s.Nodes {
		reply.Nodes.Total++
		reply.Nodes.Up += int(one(s.Nodes[i].State == proxy.NodeUp))
	}
	spec := b.Spec()
	listen := spec.Listening()
	for _, l := range listen.ForClients() {
		if only != "" && only != l.Name {
			continue
		}
		reply.Listeners[l.Name] = "down"
		if slices.ContainsFunc(s.Nodes, func(n proxy.NodeStats) bool { return n.TakesClients(l.Name) }) {
			reply.Listeners[l.Name] = "up"
		} else {
			reply.Status = "down"
		}
	}
	if s.State == proxy.StateDraining {
		reply.Status = proxy.StateDraining
	}
	return reply, len(reply.Listeners) > 0
}

// HealthHandler serves the health listener: 200 while new clients find a node at every listener, or at the
// one that is asked for, and 503 otherwise.
func HealthHandler(b Balancer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /nginx_status", serveNginxStatus(b))
	answer := func(w http.ResponseWriter, r *http.Request) {
		reply, known := healthOf(b, r.PathValue("listener"))
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
	return guard.LoopbackHosts(hosts(b), mux)
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
