package cluster

import (
	"fmt"
	"strconv"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Program is what to execute: argv and additions to the environment of the supervisor.
type Program struct {
	Path string
	Args []string // Args[0] is the name ps shows
	Env  []string
}

// Runtime knows what the nodes of a cluster are made of. Whatever it is, a node runs in the
// foreground, speaks MCP on the ports of its topology.Node, and ends gracefully on SIGTERM.
type Runtime interface {
	Program(topology.Node) (Program, error)
}

// UnavailableError says that a runtime cannot be used.
type UnavailableError struct{ Runtime string }

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("cluster.runtime: %q is not available yet in this version", e.Runtime)
}

// Hint is the way out.
func (e *UnavailableError) Hint() string { return "use the runtime " + RuntimeEmbedded }

// ExitCode marks it as an error of configuration.
func (e *UnavailableError) ExitCode() int { return 2 }

// runtimeOf returns the runtime a valid Spec asks for; args are global flags for nodes that are
// this program.
func runtimeOf(s Spec, args []string) (Runtime, error) {
	if s.Runtime != RuntimeEmbedded {
		return nil, &UnavailableError{s.Runtime}
	}
	return embedded{maxConnections: s.NodeMaxConnections, args: args}, nil
}

// embedded runs copies of this program as nodes.
type embedded struct {
	maxConnections int
	args           []string
}

func (e embedded) Program(n topology.Node) (Program, error) {
	path, err := prefork.Executable()
	if err != nil {
		return Program{}, err
	}
	argv := []string{
		"erlmcp", "node", "serve", "--name", n.Name, "--host", n.Host,
		"--tcp", strconv.Itoa(n.TCP), "--http", strconv.Itoa(n.HTTP), "--sse", strconv.Itoa(n.SSE),
	}
	if e.maxConnections > 0 {
		argv = append(argv, "--max-connections", strconv.Itoa(e.maxConnections))
	}
	return Program{Path: path, Args: append(argv, e.args...)}, nil
}
