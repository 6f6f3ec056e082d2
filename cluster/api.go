package cluster

import (
	"context"
	"net/http"

	"github.com/erlmcp/erlmcp/internal/control"
)

// handler is the supervisor's half of [Client].
func (s *supervisor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", control.Answer(func(*http.Request) (any, error) { return s.status(), nil }))
	mux.HandleFunc("GET /v1/spec", control.Answer(func(*http.Request) (any, error) { return s.currentSpec(), nil }))
	mux.HandleFunc("GET /v1/watch", s.serveWatch)
	mux.HandleFunc("GET /v1/events", s.serveEvents)
	mux.HandleFunc("POST /v1/drain", serveNodes(s.ordering(drain)))
	mux.HandleFunc("POST /v1/resume", serveNodes(s.ordering(resume)))
	mux.HandleFunc("POST /v1/start", serveNodes(s.start))
	mux.HandleFunc("POST /v1/add", serve(func(ctx context.Context, q addRequest) error { return s.add(ctx, q.Nodes) }))
	mux.HandleFunc("POST /v1/remove", serveNodes(s.remove))
	mux.HandleFunc("POST /v1/stop", serveNodes(s.stop))
	mux.HandleFunc("POST /v1/restart", serveNodes(s.restart))
	mux.HandleFunc("POST /v1/kill", serve(func(ctx context.Context, q killRequest) error { return s.kill(ctx, q.Name, q.Signal, q.Hold) }))
	mux.HandleFunc("POST /v1/again", s.serveAgain)
	mux.HandleFunc("POST /v1/shutdown", func(w http.ResponseWriter, _ *http.Request) {
		s.shutdown()
		control.Reply(w, http.StatusAccepted, nil)
	})
	return mux
}

// serve answers a request when do has returned.
func serve[Q any](do func(context.Context, Q) error) http.HandlerFunc {
	return control.Answer(func(r *http.Request) (any, error) {
		var q Q
		if err := control.Read(r, &q); err != nil {
			return nil, err
		}
		return nil, do(r.Context(), q)
	})
}

func serveNodes(do func(context.Context, []string) error) http.HandlerFunc {
	return serve(func(ctx context.Context, q nodesRequest) error { return do(ctx, q.Names) })
}

// serveWatch sends every node's status, and again each time it differs.
func (s *supervisor) serveWatch(w http.ResponseWriter, r *http.Request) {
	send := control.Lines(w)
	known := map[string]NodeStatus{}
	for {
		now, changed := s.register.snapshot()
		for _, status := range now {
			if known[status.Name] == status {
				continue
			}
			if send(status) != nil {
				return
			}
			known[status.Name] = status
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
