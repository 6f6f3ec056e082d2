package cmd

import (
	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/loadtest/hey"
)

func newLoadtestBurstCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "burst",
		Short:  "Make load with hey (started by loadtest)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return hey.Serve(cmd.Context(), a.stdin, a.stdout)
		},
	}
}
