package cmd

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster/node"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/internal/prefork"
)

func newNodeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Run one MCP server node",
		Long:  `Run the MCP server of this program by itself. "cluster start" runs several of them under a supervisor.`,
	}
	cmd.AddCommand(newNodeServeCommand(a), newNodeWorkerCommand(a))
	return cmd
}

func newNodeServeCommand(a *app) *cobra.Command {
	spec := node.Default()
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Run one embedded node in the foreground",
		Long: `serve runs the embedded MCP server: newline-delimited JSON-RPC over TCP, Streamable HTTP on /mcp, WebSocket on
/mcp/ws, and HTTP+SSE on /mcp/sse of a port of its own. /health on the HTTP port says how it is. It offers the
tools echo, add, whoami and sleep.

Port 0 turns a transport off. SIGTERM or SIGINT stops the node: it first answers what it was asked, for ten
seconds at most.`,
		Example: "  erlmcp node serve --name erlmcp2 --tcp 9002 --http 9102 --sse 9202",
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec.Version = readVersion().Version
			return explainServe(node.Serve(cmd.Context(), spec, node.Options{
				Log:         a.log("node"),
				WorkerFlags: []string{"--log-level", a.flags.logLevel, "--log-format", a.flags.logFormat},
			}))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&spec.Node.Name, "name", spec.Node.Name, "`NAME` the node answers to")
	flags.StringVar(&spec.Node.Host, "host", spec.Node.Host, "`ADDRESS` to listen on")
	flags.IntVar(&spec.Node.TCP, "tcp", spec.Node.TCP, "`PORT` for JSON-RPC over TCP")
	flags.IntVar(&spec.Node.HTTP, "http", spec.Node.HTTP, "`PORT` for Streamable HTTP and WebSocket")
	flags.IntVar(&spec.Node.SSE, "sse", spec.Node.SSE, "`PORT` for the legacy HTTP+SSE")
	flags.IntVar(&spec.MaxConnections, "max-connections", spec.MaxConnections, "most clients over TCP")
	return cmd
}

// explainServe adds to an error of a node what can be done about it.
func explainServe(err error) error {
	var wrong *node.SpecError
	var taken *prefork.InUseError
	switch {
	case errors.As(err, &wrong):
		return exit.WithCode(exit.Usage, fmt.Errorf("--%w", wrong)) // fields are called like their flags
	case errors.As(err, &taken):
		return exit.Hinted(err, "stop it, or choose other ports with --tcp, --http and --sse")
	default:
		return err
	}
}

func newNodeWorkerCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "worker NAME",
		Short:  "Serve the TCP clients of a node (started by node serve)",
		Hidden: true,
		Args:   cobra.ExactArgs(1), // which node, for the reader of ps
		RunE: func(cmd *cobra.Command, _ []string) error {
			return node.Worker(cmd.Context(), a.log("node"))
		},
	}
}
