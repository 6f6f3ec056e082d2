package cmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/proxy"
)

func newLBTokenCommand(a *app) *cobra.Command {
	var format outputFormat
	var header bool
	cmd := &cobra.Command{
		Use:   "token [--header]",
		Short: "Print the token for the buttons of the dashboard",
		Long: `Print the token that the dashboard asks for before it drains or enables a node or lifts a ban. Programs send it
to the admin listener as "Authorization: Bearer TOKEN", which --header prints. Each start of the balancer makes
a new token. Pipe it: every user of the machine could read it on a command line.`,
		Example: `  erlmcp lb token --header | curl -X POST -H @- http://127.0.0.1:8404/api/nodes/erlmcp2/drain`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := proxy.Connect(a.stateDir()).Token(cmd.Context())
			if err != nil {
				return startHint(err, "lb")
			}
			return a.print(format, map[string]string{"token": token}, func() error {
				if header {
					token = "Authorization: Bearer " + token
				}
				_, err := fmt.Fprintln(a.stdout, token)
				return err
			})
		},
	}
	format.addOutputFlags(cmd)
	cmd.Flags().BoolVar(&header, "header", false, "print it as an HTTP header field")
	return cmd
}
