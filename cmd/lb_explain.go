package cmd

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/proxy"
)

func newLBExplainCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "explain ADDRESS [--json]",
		Short: "Show what would happen to a client, and why",
		Long: `Show whether a client that connected now from this address would be let in, which node it would go
to, and why: bans, limits, stickiness and the balance algorithm. It changes nothing.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := proxy.Connect(a.stateDir()).Explain(cmd.Context(), args[0])
			if err != nil {
				return startHint(err)
			}
			return a.print(format, e, func() error { return a.printExplanation(&e) })
		},
	}
	format.addOutputFlags(cmd)
	return cmd
}

func (a *app) printExplanation(e *proxy.Explanation) error {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("client", "%s", e.Source)
	if e.Accepted {
		row("verdict", "%s, goes to %s", a.stdout.Paint(term.Green, "accepted"), strings.Join(e.Nodes, " or "))
	} else {
		row("verdict", "%s (%s)", a.stdout.Paint(term.Red, "refused"), e.Reason)
	}
	row("because", "%s", e.Why)
	row("exempt", "%s", yesNo(e.Exempt))
	row("banned", "%s, %d violations", yesNo(!e.BannedUntil.IsZero()), e.Violations)
	row("connections", "%d held, %s", e.Connections, rateText(e.Connection))
	row("messages", "%s", rateText(e.Message))
	row("sticky", "%s", orDash(e.Sticky))
	fmt.Fprintln(a.stdout)
	t := a.stdout.Table("NODE", ">CLIENTS", ">EXPECTED", ">MAX", ">WEIGHT", "EXCLUDED")
	for _, c := range e.Choices {
		t.Row(c.Name, c.Connections, c.Pledged, c.Max, strconv.FormatFloat(c.Weight, 'g', 3, 64), c.Excluded)
	}
	return t.Flush()
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

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
