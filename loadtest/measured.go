package loadtest

import (
	"context"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// measured is what an agent has measured of the clients of a part.
type measured struct {
	part int
	*wire.Measured
}

// measured asks the agents that are left.
func (r *run) measured(ctx context.Context) (all []measured, err error) {
	answers, err := r.tell(ctx, wire.Order{Kind: wire.OrderCollect})
	for _, a := range answers {
		if a.Measured != nil {
			all = append(all, measured{a.Share.Part, a.Measured})
		}
	}
	return all, err
}

func byNode(m measured) map[string]latency.Message { return m.Nodes }

func ofHold(m measured) latency.Message { return m.HoldLag }

// merge adds up what agents measured, by name.
func merge[K ~string](all []measured, of func(measured) map[K]latency.Message) (map[K]*latency.Recording, error) {
	merged := make(map[K]*latency.Recording)
	for _, m := range all {
		for name, message := range of(m) {
			l, err := message.Recording()
			if err != nil {
				return nil, err
			}
			if merged[name] == nil {
				merged[name] = latency.New()
			}
			merged[name].Merge(l)
		}
	}
	return merged, nil
}

// mergeLag adds up how late agents were, in microseconds.
func mergeLag(all []measured, of func(measured) latency.Message) (*hdrhistogram.Histogram, error) {
	merged := latency.NewHistogram()
	for _, m := range all {
		l, err := of(m).Recording()
		if err != nil {
			return nil, err
		}
		merged.Merge(l.Histogram)
	}
	return merged, nil
}

// histogramOf is one of all recordings.
func histogramOf[K comparable](recorded map[K]*latency.Recording) *hdrhistogram.Histogram {
	all := latency.NewHistogram()
	for _, l := range recorded {
		all.Merge(l.Histogram)
	}
	return all
}
