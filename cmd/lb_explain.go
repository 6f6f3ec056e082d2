package cmd

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/proxy"
)

func newLBExplainCommand(a *app) *cobra.Command {
	var format outputFormat
	var session, cookie string
	cmd := &cobra.Command{
		Use:   "explain CLIENT | --session ID | --cookie VALUE [--json]",
		Short: "Show what would happen to a client, and why",
		Long: `Show what would happen to a client that connects now from this address: whether it is let in, which node it
gets, and why (bans, limits, stickiness, the balance algorithm). The same for an HTTP request of the client,
with the rates that bind its requests and its calls of single tools.

With --session or --cookie, show which node an Mcp-Session-Id or a cookie names, and what would become of a
request with it.

For a proxy in front, it shows whether the proxy is trusted. Ask about the clients behind it, too.

It changes nothing.`,
		Example: `  erlmcp lb explain 192.0.2.7
  erlmcp lb explain --cookie "$COOKIE" -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("session") || cmd.Flags().Changed("cookie") {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client := proxy.Connect(a.stateDir())
			if len(args) == 0 {
				kind, value := proxy.TagSession, session
				if cmd.Flags().Changed("cookie") {
					kind, value = proxy.TagCookie, cookie[strings.IndexByte(cookie, '=')+1:] // with or without its name
				}
				e, err := client.ExplainTag(cmd.Context(), kind, value)
				if err != nil {
					return startHint(err, "lb")
				}
				return a.print(format, e, func() error { show.Tag(a.stdout, &e); return nil })
			}
			e, err := client.Explain(cmd.Context(), args[0])
			if err != nil {
				return startHint(err, "lb")
			}
			return a.print(format, e, func() error { return show.Explanation(a.stdout, &e) })
		},
	}
	cmd.Flags().StringVar(&session, "session", "", "the Mcp-Session-Id of a client")
	cmd.Flags().StringVar(&cookie, "cookie", "", "the value of a client's cookie (lb.sticky.cookie)")
	cmd.MarkFlagsMutuallyExclusive("session", "cookie")
	format.addOutputFlags(cmd)
	return cmd
}
