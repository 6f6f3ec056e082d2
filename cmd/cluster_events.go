package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/control"
)

func newClusterEventsCommand(a *app) *cobra.Command {
	var follow bool
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "events [NODE...] [--follow]",
		Short: "Print what has happened to the nodes",
		Long: `Print every change of a node's state, or of the reason for it, as one JSON object a line: the last
thousand, in the order they happened. With --follow, go on with new ones until Ctrl-C or the end of the
cluster. For what the nodes themselves write, see "cluster logs" and "cluster tail".`,
		Example: `  erlmcp cluster events erlmcp2
  erlmcp cluster events -f -o table`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, names []string) error {
			client := cluster.Connect(a.stateDir())
			s, err := client.Status(cmd.Context())
			if err != nil {
				return startHint(err, "cluster")
			}
			if _, err := s.Only(names); err != nil {
				return err
			}
			print := func(e cluster.Event) error { return a.printJSONLine(e) }
			if format == "table" {
				print = a.printEvent
			}
			err = client.Events(cmd.Context(), follow, func(e cluster.Event) error {
				if len(names) > 0 && !slices.Contains(names, e.Node) {
					return nil
				}
				return print(e)
			})
			if errors.Is(err, control.ErrNotRunning) { // it has ended meanwhile
				return nil
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "follow new events until Ctrl-C")
	format.addFormats(cmd, "json", "table")
	return cmd
}

// printEvent prints an event for people.
func (a *app) printEvent(e cluster.Event) error {
	text := orDash(string(e.From)) + " → " + a.stdout.Paint(stateStyle(e.State), cmp.Or(string(e.State), "removed"))
	if e.Reason != "" {
		text += "  " + e.Reason
	}
	_, err := fmt.Fprintf(a.stdout, "%s  %s  %s\n", e.Time.Local().Format(time.DateTime), e.Node, text)
	return err
}
