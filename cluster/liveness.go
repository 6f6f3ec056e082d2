package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Liveness says when a node that runs is taken for dead. A debugger that holds a node makes it look
// dead, so nothing is asked by default.
type Liveness struct {
	Interval time.Duration `yaml:"interval" json:"interval"` // between two questions; 0 asks none
	Failures int           `yaml:"failures" json:"failures"` // in a row that have the node killed and started again
}

// Bounds of Liveness.
const (
	minLivenessInterval = 100 * time.Millisecond
	maxLivenessFailures = 1000
)

func (l Liveness) validate(add func(field, format string, args ...any)) {
	if l.Interval != 0 && l.Interval < minLivenessInterval {
		add("liveness.interval", "%v is less than %v (0s is off)", l.Interval, minLivenessInterval)
	}
	if l.Failures < 1 || l.Failures > maxLivenessFailures {
		add("liveness.failures", "%d is not within 1..%d", l.Failures, maxLivenessFailures)
	}
}

// watch asks a node that is ready, as readiness did, until ctx ends. lifeless gets the reason
// when the node has not answered so many times in a row.
func (l Liveness) watch(ctx context.Context, probe prober, node topology.Node) (lifeless <-chan string) {
	if l.Interval == 0 {
		return nil
	}
	verdict := make(chan string, 1)
	go func() {
		failures := 0
		for range tempo.Every(ctx, l.Interval) {
			err := probe(ctx, node)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				failures = 0
				continue
			}
			if failures++; failures == l.Failures {
				verdict <- fmt.Sprintf("did not answer %d times in a row (%v) and was killed", failures, err)
				return
			}
		}
	}()
	return verdict
}
