package cmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/term"
)

func newClusterTailCommand(a *app) *cobra.Command {
	var lines int
	var noFollow bool
	cmd := &cobra.Command{
		Use:   "tail [NODE...] [-n LINES] [--no-follow]",
		Short: "Print the nodes' logs as they grow",
		Long: `Print the last lines of the logs of all nodes, or of these, and then what is added, until Ctrl-C.
Works while nodes restart, and while nothing runs.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, names []string) error {
			if lines < 0 {
				return usagef("--lines: %d is negative", lines)
			}
			c, err := a.config()
			if err != nil {
				return err
			}
			logs, err := cluster.NodeLogs(cmd.Context(), a.stateDir(), c.Cluster, names)
			if err != nil {
				return err
			}
			return cluster.Tail(cmd.Context(), logs, lines, !noFollow, a.linePrinter(logs))
		},
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "print the last `LINES` of each log first")
	cmd.Flags().BoolVar(&noFollow, "no-follow", false, "end after these lines")
	return cmd
}

// nodeStyles tell neighbours apart; 35 is magenta, 34 blue.
var nodeStyles = []term.Style{term.Cyan, term.Yellow, term.Green, "35", "34"}

// linePrinter prints lines behind the aligned name of their node.
func (a *app) linePrinter(logs []cluster.NodeLog) func(node string, line []byte) error {
	width := 0
	for _, l := range logs {
		width = max(width, len(l.Node))
	}
	prefixes := map[string]string{}
	for i, l := range logs {
		prefixes[l.Node] = a.stdout.Paint(nodeStyles[i%len(nodeStyles)], fmt.Sprintf("%-*s |", width, l.Node)) + " "
	}
	return func(node string, line []byte) error {
		_, err := fmt.Fprintf(a.stdout, "%s%s\n", prefixes[node], line)
		return err
	}
}
