package swarm

import (
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// stages is how long clients took for what they go through until they are verified.
type stages struct {
	since    map[*reactor.Conn]int64 // when the stage began that a connection is in
	recorded map[wire.Stage]*latency.Recording
}

func newStages() stages {
	return stages{make(map[*reactor.Conn]int64), make(map[wire.Stage]*latency.Recording)}
}

// begin begins the next stage of a connection.
func (g *stages) begin(c *reactor.Conn) { g.since[c] = mono.Now() }

// forget ends what a connection is in without a record.
func (g *stages) forget(c *reactor.Conn) { delete(g.since, c) }

// end records a stage, if the connection is in one, and begins the next.
func (g *stages) end(stage wire.Stage, c *reactor.Conn) { g.endAt(stage, c, mono.Now()) }

func (g *stages) endAt(stage wire.Stage, c *reactor.Conn, at int64) {
	since, ok := g.since[c]
	if !ok || at < since {
		return
	}
	r := g.recorded[stage]
	if r == nil {
		r = &latency.Recording{Histogram: latency.NewHistogram()}
		g.recorded[stage] = r
	}
	latency.Record(r.Histogram, at-since)
	g.since[c] = at
}

func (g *stages) messages() (map[wire.Stage]latency.Message, error) {
	m := make(map[wire.Stage]latency.Message, len(g.recorded))
	for stage, r := range g.recorded {
		var err error
		if m[stage], err = r.Message(); err != nil {
			return nil, err
		}
	}
	return m, nil
}
