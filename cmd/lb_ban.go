package cmd

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

func newLBBanCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ban",
		Short: "Ban clients, and see who is banned",
		Long: `Ban clients by their address. An IPv6 address stands for its /64. A ban refuses new connections until it is
over. Connections that exist stay, with their requests and streams, and so do sessions. The balancer itself
bans whoever goes on over its limits (lb.limits.ban).`,
	}
	cmd.AddCommand(newLBBanListCommand(a), newLBBanAddCommand(a), newLBBanRemoveCommand(a))
	return cmd
}

func newLBBanListCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the banned clients",
		Long:  `List the banned clients, and until when each is banned. The one whose ban ends first is at the top.`,
		Example: `  erlmcp lb ban list
  erlmcp lb ban list -o name`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bans, err := proxy.Connect(a.stateDir()).Bans(cmd.Context())
			if err != nil {
				return startHint(err, "lb")
			}
			names := make([]string, len(bans))
			for i, b := range bans {
				names[i] = b.Source
			}
			return a.printNamed(format, bans, names, func() error {
				if len(bans) == 0 {
					a.notef("nobody is banned")
					return nil
				}
				t := a.stdout.Table("CLIENT", ">FOR", ">CONNECTIONS", "UNTIL")
				for _, b := range bans {
					t.Row(b.Source, show.Duration(time.Until(b.Until)), b.Connections, b.Until.Format(time.DateTime))
				}
				return t.Flush()
			})
		},
	}
	format.addOutputFlags(cmd, formatName)
	return cmd
}

func newLBBanAddCommand(a *app) *cobra.Command {
	var long time.Duration
	cmd := &cobra.Command{
		Use:   "add ADDRESS [--for DURATION]",
		Short: "Ban a client",
		Long: `Ban a client by its address: its new connections are refused until the ban is over. If the client is banned
for longer already, nothing changes.`,
		Example: "  erlmcp lb ban add 192.0.2.7 --for 1h",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.changes.dryRun {
				source, banned, err := a.bannedClient(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if banned {
					a.notef("%s is banned already; a longer ban stays", source)
				}
				a.would(onClient("ban", source, nil), "ban %s", source)
				return nil
			}
			b, err := proxy.Connect(a.stateDir()).Ban(cmd.Context(), args[0], long)
			if err != nil {
				return startHint(err, "lb")
			}
			a.did(onClient("ban", b.Source, b), "%s is banned for %s", b.Source, show.Duration(time.Until(b.Until)))
			return nil
		},
	}
	cmd.Flags().DurationVar(&long, "for", 0, "how long (default lb.limits.ban.for)")
	return a.addChangeFlags(cmd)
}

func newLBBanRemoveCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove ADDRESS",
		Short:   "Lift the ban of a client",
		Long:    `Lift the ban of a client, no matter whether you or the balancer banned it.`,
		Example: "  erlmcp lb ban remove 192.0.2.7",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.changes.dryRun {
				source, banned, err := a.bannedClient(cmd.Context(), args[0])
				if err == nil && !banned {
					err = exit.Hinted(exit.Failf("%s is not banned", source), "erlmcp lb ban list shows who is")
				}
				if err == nil {
					a.would(onClient("unban", source, nil), "let %s in again", source)
				}
				return err
			}
			if err := proxy.Connect(a.stateDir()).Unban(cmd.Context(), args[0]); err != nil {
				if control.Refused(err, "not_banned") {
					return exit.Hinted(err, "erlmcp lb ban list shows who is")
				}
				return startHint(err, "lb")
			}
			a.did(onClient("unban", args[0], nil), "%s is no longer banned", args[0])
			return nil
		},
	}
	return a.addChangeFlags(cmd)
}

func onClient(action, client string, detail any) change {
	return change{Action: action, Kind: "client", Names: []string{client}, Detail: detail}
}

// bannedClient finds what is known of the ban of a client.
func (a *app) bannedClient(ctx context.Context, client string) (source string, banned bool, err error) {
	bans, err := proxy.Connect(a.stateDir()).Bans(ctx)
	if err != nil {
		return "", false, startHint(err, "lb")
	}
	source, err = proxy.Source(client)
	if err != nil {
		return "", false, exit.WithCode(exit.Usage, err)
	}
	return source, slices.ContainsFunc(bans, func(b proxy.BanStatus) bool { return b.Source == source }), nil
}
