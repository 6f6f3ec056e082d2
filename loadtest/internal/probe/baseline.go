package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

const (
	baselineCalls = 10               // over each connection, far below what a source may send
	callPatience  = 10 * time.Second // for one of them: a tool may take its time
)

// Baseline is the latency of a system without load, through a connection from each source, one after the other. The requests
// are those of the script.
func Baseline(ctx context.Context, e target.Endpoint, script *work.Script, from sources.Range) (*hdrhistogram.Histogram, error) {
	h := latency.NewHistogram()
	for i := range from.Count {
		if err := converse(ctx, e, script, from.At(i), h); err != nil {
			return nil, errors.New(scrub(e, err.Error()))
		}
	}
	return h, nil
}

// Node is one that a balancer sends clients to.
type Node struct {
	Name     string
	Endpoint target.Endpoint
}

// Straight is the latency at each node without the balancer, in their order; nil at those that do not answer so.
func Straight(ctx context.Context, script *work.Script, nodes ...Node) []*hdrhistogram.Histogram {
	all := make([]*hdrhistogram.Histogram, len(nodes))
	for i, n := range nodes {
		h, err := Baseline(ctx, n.Endpoint, script, sources.KernelsChoice)
		if err == nil {
			all[i] = h
		}
	}
	return all
}

// converse opens a connection and asks several times in a row.
func converse(ctx context.Context, e target.Endpoint, script *work.Script, from netip.Addr, h *hdrhistogram.Histogram) error {
	s, err := enter(ctx, e, script.Work().Era, from)
	if err != nil {
		return explain(ctx, e, answer{}, err)
	}
	defer s.close()
	for i := range baselineCalls + 1 {
		step := work.Verification // the first one, which may have to connect
		if i > 0 {
			step = script.Next()
		}
		id := work.ID(int64(i), step)
		line, about := script.AppendStep(nil, step, id)
		limited, cancel := context.WithTimeoutCause(ctx, callPatience, fmt.Errorf("no answer within %s", callPatience))
		begun := time.Now()
		got, err := s.ask(limited, id, line, about)
		if cancel(); got.came.IsZero() {
			got.came = time.Now()
		}
		if err != nil {
			return explain(ctx, e, got, err)
		}
		if script.Parse(got.line).Kind != ask.ReplyAnswer {
			return fmt.Errorf("refused: %s", ask.Saying(got.line))
		}
		if i > 0 {
			latency.Record(h, int64(got.came.Sub(begun)))
		}
	}
	return nil
}

// enter opens a conversation that is ready to be asked in.
func enter(ctx context.Context, e target.Endpoint, era mcp.Era, from netip.Addr) (speaker, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	s, err := open(ctx, e, from, era)
	if err != nil || e.Transport == target.TCP || era == mcp.StatelessEra && e.Transport != target.SSE {
		return s, err
	}
	if got, err := begin(ctx, s); err != nil {
		s.close()
		if errors.Is(err, errNotGreeted) {
			err = &unexpected{got}
		}
		return nil, err
	}
	return s, nil
}
