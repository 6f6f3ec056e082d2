package cmd

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/proxy"
)

func newLBBanCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ban",
		Short: "Shut clients out, and see who is",
		Long: `Shut clients out by their address. An IPv6 address stands for its /64. Connections made before stay,
with the requests on them and their streams, and so do sessions; new connections are refused until the ban
is over. The balancer bans by itself whoever goes on over its limits (lb.limits.ban).`,
	}
	cmd.AddCommand(newLBBanListCommand(a), newLBBanAddCommand(a), newLBBanRemoveCommand(a))
	return cmd
}

func newLBBanListCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the clients that are shut out",
		RunE: func(cmd *cobra.Command, _ []string) error {
			bans, err := proxy.Connect(a.stateDir()).Bans(cmd.Context())
			if err != nil {
				return startHint(err)
			}
			return a.print(format, bans, func() error {
				if len(bans) == 0 {
					a.notef("nobody is banned")
					return nil
				}
				t := a.stdout.Table("CLIENT", ">FOR", ">CONNECTIONS", "UNTIL")
				for _, b := range bans {
					t.Row(b.Source, shortDuration(time.Until(b.Until)), b.Connections, b.Until.Format(time.DateTime))
				}
				return t.Flush()
			})
		},
	}
	format.addOutputFlags(cmd)
	return cmd
}

func newLBBanAddCommand(a *app) *cobra.Command {
	var long time.Duration
	cmd := &cobra.Command{
		Use:   "add ADDRESS [--for DURATION]",
		Short: "Shut a client out",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := proxy.Connect(a.stateDir()).Ban(cmd.Context(), args[0], long)
			if err != nil {
				return startHint(err)
			}
			a.notef("%s is banned for %s", b.Source, shortDuration(time.Until(b.Until)))
			return nil
		},
	}
	cmd.Flags().DurationVar(&long, "for", 0, "how long (default lb.limits.ban.for)")
	return cmd
}

func newLBBanRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ADDRESS",
		Short: "Let a client in again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := proxy.Connect(a.stateDir()).Unban(cmd.Context(), args[0]); err != nil {
				return startHint(err)
			}
			a.notef("%s is no longer banned", args[0])
			return nil
		},
	}
}
