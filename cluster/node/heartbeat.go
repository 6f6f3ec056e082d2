package node

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// heartbeatInterval is how often an event stream that says nothing shows that it is alive, well
	// within the 60 s after which middleboxes begin to cut.
	heartbeatInterval = 25 * time.Second

	// writeTimeout is how long a client may take to receive what is written to an event stream.
	writeTimeout = 30 * time.Second
)

// withHeartbeat keeps the event streams of next alive by comments, which clients ignore. An event has to
// be written by one call of Write.
func withHeartbeat(every time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := &heartbeat{ResponseWriter: w, control: http.NewResponseController(w), every: every}
		defer h.stop()
		next.ServeHTTP(h, r)
	})
}

// heartbeat is a response that may turn out to be an event stream.
type heartbeat struct {
	http.ResponseWriter
	control *http.ResponseController
	every   time.Duration

	mu    sync.Mutex
	begun bool
	timer *time.Timer // of an event stream
	over  bool        // the handler has returned: the response must not be touched
}

// Unwrap lets http.ResponseController reach what is not defined here.
func (h *heartbeat) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *heartbeat) WriteHeader(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beginLocked()
	h.ResponseWriter.WriteHeader(status)
}

func (h *heartbeat) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beginLocked()
	if h.timer != nil {
		h.timer.Reset(h.every)
		_ = h.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // net/http supports it
	}
	return h.ResponseWriter.Write(p)
}

// FlushError is what http.ResponseController.Flush calls.
func (h *heartbeat) FlushError() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.control.Flush()
}

func (h *heartbeat) beginLocked() {
	if h.begun {
		return
	}
	h.begun = true
	if strings.HasPrefix(h.Header().Get("Content-Type"), "text/event-stream") {
		h.Header().Set("X-Accel-Buffering", "no")
		h.timer = time.AfterFunc(h.every, h.beat)
	}
}

func (h *heartbeat) beat() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return
	}
	_ = h.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := h.ResponseWriter.Write([]byte(": still here\n\n")); err != nil {
		return // the server ends the request
	}
	if h.control.Flush() == nil {
		h.timer.Reset(h.every)
	}
}

func (h *heartbeat) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if h.timer != nil {
		h.timer.Stop()
	}
}
