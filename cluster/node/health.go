package node

import (
	"encoding/json"
	"net/http"
	"time"
)

// Health is the answer of /health, with status 200, or 503 while the node is stopping.
type Health struct {
	Status         string `json:"status"` // "ok" or "stopping"
	Node           string `json:"node"`
	Version        string `json:"version"`
	UptimeSeconds  int64  `json:"uptime_s"`
	Connections    int64  `json:"connections"` // over TCP
	MaxConnections int    `json:"max_connections"`
	HTTPConns      int64  `json:"http_connections"`
	Sessions       int    `json:"http_sessions"`
}

func (w *web) health(rw http.ResponseWriter, _ *http.Request) {
	h := Health{
		Status:         "ok",
		Node:           w.spec.Node.Name,
		Version:        w.spec.Version,
		UptimeSeconds:  int64(time.Since(w.started).Seconds()),
		Connections:    w.tally.total(),
		MaxConnections: w.spec.MaxConnections,
		HTTPConns:      w.open.Load(),
		Sessions:       w.sessions.len() + int(w.streams.Load()),
	}
	status := http.StatusOK
	if w.stopping.Load() {
		h.Status, status = "stopping", http.StatusServiceUnavailable
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Cache-Control", "no-store")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(h)
}
