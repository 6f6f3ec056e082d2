package cmd

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cmd/internal/encode"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
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
			print := func(e cluster.Event) error { return encode.JSONLine(a.stdout, e) }
			if format == "table" {
				print = func(e cluster.Event) error { return show.Event(a.stdout, e) }
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
