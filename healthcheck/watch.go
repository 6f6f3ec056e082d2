package healthcheck

import (
	"context"
	"time"

	"github.com/erlmcp/erlmcp/internal/tempo"
)

// Watch makes rounds of checks until ctx ends, a number of them is done (0 is no limit), or show
// fails, whose error it returns. Rounds begin an interval apart; one that takes longer is followed
// at once. It returns the last round that was finished: of status StatusUnknown when there was none.
func (c *Collector) Watch(ctx context.Context, interval time.Duration, rounds int, show func(Report) error) (last Report, err error) {
	last.Status = StatusUnknown
	done := 0
	for range tempo.AtOnce(ctx, interval) {
		c.follow(ctx)
		r := c.Collect(ctx)
		if ctx.Err() != nil {
			return last, nil
		}
		last = r
		done++
		if err := show(r); err != nil || done == rounds {
			return last, err
		}
	}
	return last, nil
}

// follow has the next round ask the nodes that there are then.
func (c *Collector) follow(ctx context.Context) {
	if c.Follow == nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, c.Spec.Timeout)
	defer cancel()
	if nodes := c.Follow(limited); nodes != nil {
		c.Nodes = nodes
	}
}
