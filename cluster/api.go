package cluster

import (
	"context"
	"net/http"

	"github.com/erlmcp/erlmcp/internal/control"
)

// handler is the supervisor's half of [Client].
func (s *supervisor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		control.Reply(w, http.StatusOK, s.status())
	})
	mux.HandleFunc("GET /v1/spec", func(w http.ResponseWriter, _ *http.Request) {
		control.Reply(w, http.StatusOK, s.currentSpec())
	})
	mux.HandleFunc("GET /v1/watch", s.serveWatch)
	mux.HandleFunc("GET /v1/events", s.serveEvents)
	mux.HandleFunc("POST /v1/drain", serveNodes(s.drain))
	mux.HandleFunc("POST /v1/resume", serveNodes(s.resume))
	mux.HandleFunc("POST /v1/start", serveNodes(s.start))
	mux.HandleFunc("POST /v1/add", s.serveAdd)
	mux.HandleFunc("POST /v1/remove", serveNodes(s.remove))
	mux.HandleFunc("POST /v1/stop", serveNodes(s.stop))
	mux.HandleFunc("POST /v1/restart", serveNodes(s.restart))
	mux.HandleFunc("POST /v1/kill", s.serveKill)
	mux.HandleFunc("POST /v1/again", s.serveAgain)
	mux.HandleFunc("POST /v1/shutdown", func(w http.ResponseWriter, _ *http.Request) {
		s.shutdown()
		control.Reply(w, http.StatusAccepted, nil)
	})
	return mux
}

// serveNodes answers a request about nodes when do has returned.
func serveNodes(do func(context.Context, []string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request nodesRequest
		err := control.Read(r, &request)
		if err == nil {
			err = do(r.Context(), request.Names)
		}
		answer(w, err)
	}
}

func (s *supervisor) serveKill(w http.ResponseWriter, r *http.Request) {
	var request killRequest
	err := control.Read(r, &request)
	if err == nil {
		err = s.kill(r.Context(), request.Name, request.Signal, request.Hold)
	}
	answer(w, err)
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		control.Fail(w, err)
		return
	}
	control.Reply(w, http.StatusOK, nil)
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
