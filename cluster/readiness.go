package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// prober asks a node once, whether it serves all its ports. nil means yes.
type prober func(context.Context, topology.Node) error

const (
	firstProbePause = 10 * time.Millisecond
	longProbePause  = 250 * time.Millisecond
)

// readiness probes one life of a node until it is ready.
type readiness struct {
	ready chan struct{} // closed when it is
	stop  context.CancelFunc

	mu   sync.Mutex
	last error
}

func awaitReady(probe prober, node topology.Node) *readiness {
	ctx, cancel := context.WithCancel(context.Background())
	r := &readiness{ready: make(chan struct{}), stop: cancel}
	go r.run(ctx, probe, node)
	return r
}

func (r *readiness) run(ctx context.Context, probe prober, node topology.Node) {
	for pause := firstProbePause; ; pause = min(2*pause, longProbePause) {
		err := probe(ctx, node)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			close(r.ready)
			return
		}
		r.mu.Lock()
		r.last = err
		r.mu.Unlock()
		if tempo.Pause(ctx, pause) != nil {
			return
		}
	}
}

// lastError is why the latest probe failed, nil before the first result.
func (r *readiness) lastError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}
