package swarm

import (
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/agent/internal/tally"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// stages is what clients go through until they are verified.
type stages struct {
	since map[*reactor.Conn]int64 // when the stage began that a connection is in
	tally *tally.Tally
}

func newStages(t *tally.Tally) stages { return stages{make(map[*reactor.Conn]int64), t} }

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
	g.tally.Stage(stage, at-since)
	g.since[c] = at
}
