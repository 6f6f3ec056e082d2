package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/charmbracelet/log"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/cluster/node/internal/tools"
)

// answerGrace is how long the answer to a call may take to be written after the call has been handled.
const answerGrace = 100 * time.Millisecond

// web is the HTTP side of a node.
type web struct {
	spec     Spec
	log      *log.Logger
	mcp      *sdk.Server
	tally    *tally // of the TCP side
	started  time.Time
	stopping atomic.Bool

	open     atomic.Int64 // connections
	most     int64
	servers  []*http.Server
	serving  sync.WaitGroup // servers
	failures chan error     // of servers
	calls    calls
	sessions *sessions    // over Streamable HTTP
	streams  atomic.Int64 // sessions that end with their stream or socket
	bodies   *bodies
}

func newWeb(spec Spec, t *tally, connections int, logger *log.Logger) *web {
	w := &web{
		spec: spec, log: logger,
		mcp:      newSDKServer(spec.Node.Name, spec.Version),
		tally:    t,
		started:  time.Now(),
		most:     int64(connections),
		failures: make(chan error, 2),
		sessions: newSessions(spec.MaxConnections),
		bodies:   newBodies(budget),
	}
	w.mcp.AddReceivingMiddleware(w.calls.count, w.sessions.count)
	return w
}

// routes is what the HTTP port serves.
func (w *web) routes() http.Handler {
	limit := int64(w.spec.MaxMessage)
	mux := http.NewServeMux()
	mux.Handle("/mcp", w.guard(w.bodies.reading(limit, newStreamable(w.mcp, w.sessions, limit).serve)))
	mux.Handle("/mcp/ws", sameOrigin(w.spec.Node.Host, w.countStream(&webSocket{w.mcp, w.bodies, limit})))
	mux.HandleFunc("GET /health", w.health)
	return mux
}

// legacyRoutes is what the SSE port serves: the HTTP+SSE transport of 2024-11-05.
func (w *web) legacyRoutes() http.Handler {
	streams := newLegacy(w.mcp, w.bodies, int64(w.spec.MaxMessage))
	mux := http.NewServeMux()
	mux.HandleFunc("HEAD /mcp/sse", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Allow", "GET, POST")
		rw.WriteHeader(http.StatusMethodNotAllowed)
	})
	mux.Handle("GET /mcp/sse", w.guard(w.countStream(http.HandlerFunc(streams.open))))
	mux.Handle("POST /mcp/sse", w.guard(http.HandlerFunc(streams.post)))
	return mux
}

// countStream counts what next serves as a session for as long as it does.
func (w *web) countStream(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.streams.Add(1)
		defer w.streams.Add(-1)
		next.ServeHTTP(rw, r)
	})
}

// guard is what all MCP over HTTP goes through.
func (w *web) guard(next http.Handler) http.Handler {
	next = withHeartbeat(heartbeatInterval, next)
	return sameOrigin(w.spec.Node.Host, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.calls.begin()
			defer w.calls.end()
		}
		next.ServeHTTP(rw, r)
	}))
}

// serve serves a listening socket, and takes it.
func (w *web) serve(f *os.File, h http.Handler) error {
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		WriteTimeout:      tools.MaxSleep + writeTimeout, // event streams extend it
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          w.log.StandardLog(log.StandardLogOptions{ForceLevel: log.DebugLevel}), // mostly what clients do wrong
	}
	w.servers = append(w.servers, s)
	bounded := &boundedListener{Listener: l, open: &w.open, most: w.most}
	w.serving.Go(func() {
		if err := s.Serve(bounded); !errors.Is(err, http.ErrServerClosed) {
			w.failures <- fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
		}
	})
	return nil
}

// announceStop tells who asks that the node is stopping, and has clients take new connections elsewhere.
func (w *web) announceStop() {
	w.stopping.Store(true)
	for _, s := range w.servers {
		s.SetKeepAlivesEnabled(false)
	}
}

// stop finishes what was asked. Connections are dropped when ctx ends.
func (w *web) stop(ctx context.Context) {
	var closing sync.WaitGroup
	for _, s := range w.servers {
		closing.Go(func() { _ = s.Shutdown(ctx) })
	}
	w.endSessions(ctx)
	closing.Wait()
	for _, s := range w.servers {
		_ = s.Close()
	}
	w.serving.Wait()
}

// endSessions ends all sessions, and with them their streams, when no calls are under way.
func (w *web) endSessions(ctx context.Context) {
	select {
	case <-w.calls.quiet():
	case <-ctx.Done():
		return
	}
	// The SDK writes an answer after the handler has returned, and not at all once it closes the session.
	select {
	case <-time.After(answerGrace):
	case <-ctx.Done():
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var closing sync.WaitGroup
		for session := range w.mcp.Sessions() {
			closing.Go(func() { _ = session.Close() })
		}
		closing.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
