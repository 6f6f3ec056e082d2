package wire

import "github.com/erlmcp/erlmcp/loadtest/internal/target"

// MaxBeside is how many connections an agent has at most for requests that cannot go over its clients' own.
const MaxBeside = 2048

// Beside is how many of the connections that an agent can hold are left for these, and are not for clients: where clients hold
// streams, which take no requests. An agent of a few connections leaves an eighth.
func Beside(d Driver, over target.Transport, connections int) int {
	if d != Socket || over != target.HTTP && over != target.SSE {
		return 0
	}
	return min(MaxBeside, connections/8)
}
