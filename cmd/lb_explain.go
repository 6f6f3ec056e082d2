package cmd

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/term"
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
				return a.print(format, e, func() error { a.printTag(&e); return nil })
			}
			e, err := client.Explain(cmd.Context(), args[0])
			if err != nil {
				return startHint(err, "lb")
			}
			return a.print(format, e, func() error { return a.printExplanation(&e) })
		},
	}
	cmd.Flags().StringVar(&session, "session", "", "the Mcp-Session-Id of a client")
	cmd.Flags().StringVar(&cookie, "cookie", "", "the value of a client's cookie (lb.sticky.cookie)")
	cmd.MarkFlagsMutuallyExclusive("session", "cookie")
	format.addOutputFlags(cmd)
	return cmd
}

func (a *app) printExplanation(e *proxy.Explanation) error {
	row := a.explanationRow
	row("client", "%s", e.Source)
	a.printOutcome("verdict", &e.Outcome)
	if e.TrustedProxy {
		row("proxy", "trusted: its HTTP requests count for the clients that it names (lb.trusted_proxies)")
	}
	if e.ProxyProtocol {
		row("proxy", "its connections count for the clients that it names by PROXY protocol (lb.proxy_protocol.accept_from)")
	}
	row("exempt", "%s", yesNo(e.Exempt))
	row("banned", "%s, %d violations", yesNo(!e.BannedUntil.IsZero()), e.Violations)
	row("connections", "%d held, %s", e.Connections, rateText(e.Connection))
	row("messages", "%s", rateText(e.Message))
	row("sticky", "%s", orDash(e.Sticky))
	if h := e.HTTP; h != nil {
		if e.Listener != "http" { // else it is told above
			a.printOutcome("http", &h.Outcome)
		}
		row("decided by", "%s", strings.Join(h.Order, ", else "))
		row("requests", "%s", requestRateText(h.Message))
		for _, tool := range h.Tools {
			row("tool", "%s: %s, more are rejected (MCP %s only)", tool.Name, rateText(tool.RateState), mcp.Version20260728)
		}
	}
	fmt.Fprintln(a.stdout)
	t := a.stdout.Table("NODE", ">CLIENTS", ">EXPECTED", ">MAX", ">WEIGHT", "EXCLUDED")
	for _, c := range e.Choices {
		t.Row(c.Name, c.Connections, c.Pledged, c.Max, strconv.FormatFloat(c.Weight, 'g', 3, 64), c.Excluded)
	}
	return t.Flush()
}

func (a *app) printOutcome(of string, o *proxy.Outcome) {
	if o.Accepted {
		a.explanationRow(of, "%s, goes to %s", a.stdout.Paint(term.Green, "accepted"), strings.Join(o.Nodes, " or "))
	} else {
		a.explanationRow(of, "%s (%s)", a.stdout.Paint(term.Red, "refused"), o.Reason)
	}
	a.explanationRow("because", "%s", o.Why)
}

func (a *app) explanationRow(name, format string, args ...any) {
	fmt.Fprintf(a.stdout, "%-12s %s\n", name, fmt.Sprintf(format, args...))
}

func (a *app) printTag(e *proxy.TagExplanation) {
	row := a.explanationRow
	node := orDash(e.Node)
	if e.State != "" {
		node += " (" + e.State + ")"
	}
	row("names", "%s", node)
	switch {
	case e.Kept:
		row("verdict", "%s, goes to %s", a.stdout.Paint(term.Green, "accepted"), e.Node)
	case e.Status != 0:
		row("verdict", "%s with status %d", a.stdout.Paint(term.Red, "refused"), e.Status)
	default:
		row("verdict", "goes where a request without the %s goes", e.Kind)
	}
	row("because", "%s", e.Why)
}

func rateText(r proxy.RateState) string {
	switch {
	case r.PerSecond == 0:
		return "no limit"
	case r.WaitMs > 0:
		return fmt.Sprintf("%d per second, the next one in %v", r.PerSecond, time.Duration(r.WaitMs*float64(time.Millisecond)).Round(time.Millisecond))
	}
	return fmt.Sprintf("%d per second, the next one now", r.PerSecond)
}

// requestRateText is a rate and what becomes of requests over it.
func requestRateText(m proxy.MessageState) string {
	switch m.Action {
	case proxy.ActionThrottle:
		return rateText(m.RateState) + ", more have to wait"
	case proxy.ActionHold:
		return rateText(m.RateState) + ", more wait for up to 5 s or are rejected"
	case proxy.ActionReject:
		return rateText(m.RateState) + ", more are rejected"
	}
	return rateText(m.RateState)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
