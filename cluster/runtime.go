package cluster

import (
	"context"
	"strconv"

	"github.com/erlmcp/erlmcp/cluster/internal/process"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Runtime knows what the nodes of a cluster are made of. Whatever it is, a node runs in the
// foreground, serves the ports of its topology.Node, and ends gracefully on SIGTERM.
type Runtime interface {
	// Program says how a node is started; whose it is, is marked by the caller. It may write files into the state directory.
	Program(topology.Node) (process.Program, error)
	// Ready asks a node once, whether it serves; nil means yes.
	Ready(context.Context, topology.Node) error
}

// mesh is what a Runtime also is when its nodes know each other.
type mesh interface {
	// Peer is the name that other nodes know n by.
	Peer(n topology.Node) string
	// Sees lists the peers that n is connected to.
	Sees(ctx context.Context, n topology.Node) ([]string, error)
	// Introduce makes n connect to a peer, if it can.
	Introduce(ctx context.Context, n topology.Node, peer string) error
}

// runtimeOf returns the runtime a valid Spec asks for, and reports what it lacks on this machine.
// args are global flags for nodes that are this program; stateDir is for files that nodes need.
func runtimeOf(s Spec, stateDir string, args []string) (Runtime, error) {
	switch s.Runtime {
	case RuntimeErlang:
		return newErlang(s.Erlang, stateDir)
	case RuntimeCommand:
		return newCommand(s.Command, s.Nodes)
	}
	return embedded{maxConnections: s.NodeMaxConnections, args: args}, nil
}

// nodeEnv tells a node that is not this program where to listen; its name is told to all nodes.
func nodeEnv(n topology.Node) []string {
	return []string{
		"ERLMCP_HOST=" + n.Host,
		"ERLMCP_TCP_PORT=" + strconv.Itoa(n.TCP),
		"ERLMCP_HTTP_PORT=" + strconv.Itoa(n.HTTP),
		"ERLMCP_SSE_PORT=" + strconv.Itoa(n.SSE),
	}
}

// embedded runs copies of this program as nodes.
type embedded struct {
	maxConnections int
	args           []string
}

// Program implements Runtime.
func (e embedded) Program(n topology.Node) (process.Program, error) {
	path, err := prefork.Executable()
	if err != nil {
		return process.Program{}, err
	}
	argv := []string{
		"erlmcp", "node", "serve", "--name", n.Name, "--host", n.Host,
		"--tcp", strconv.Itoa(n.TCP), "--http", strconv.Itoa(n.HTTP), "--sse", strconv.Itoa(n.SSE),
	}
	if e.maxConnections > 0 {
		argv = append(argv, "--max-connections", strconv.Itoa(e.maxConnections))
	}
	return process.Program{Path: path, Args: append(argv, e.args...)}, nil
}

// Ready implements Runtime.
func (e embedded) Ready(ctx context.Context, n topology.Node) error { return probeNode(ctx, n) }
