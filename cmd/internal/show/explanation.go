package show

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/proxy"
)

// Explanation prints what would happen to a client.
func Explanation(out *term.Output, e *proxy.Explanation) error {
	row := func(name, format string, args ...any) { explanationRow(out, name, format, args...) }
	row("client", "%s", e.Source)
	outcome(out, "verdict", &e.Outcome)
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
	row("sticky", "%s", OrDash(e.Sticky))
	if h := e.HTTP; h != nil {
		if e.Listener != "http" { // else it is told above
			outcome(out, "http", &h.Outcome)
		}
		row("decided by", "%s", strings.Join(h.Order, ", else "))
		row("requests", "%s", requestRateText(h.Message))
		for _, tool := range h.Tools {
			row("tool", "%s: %s, more are rejected (MCP %s only)", tool.Name, rateText(tool.RateState), mcp.Version20260728)
		}
	}
	fmt.Fprintln(out)
	t := out.Table("NODE", ">CLIENTS", ">EXPECTED", ">MAX", ">WEIGHT", "EXCLUDED")
	for _, c := range e.Choices {
		t.Row(c.Name, c.Connections, c.Pledged, c.Max, strconv.FormatFloat(c.Weight, 'g', 3, 64), c.Excluded)
	}
	return t.Flush()
}

func outcome(out *term.Output, of string, o *proxy.Outcome) {
	if o.Accepted {
		explanationRow(out, of, "%s, goes to %s", out.Paint(term.Green, "accepted"), strings.Join(o.Nodes, " or "))
	} else {
		explanationRow(out, of, "%s (%s)", out.Paint(term.Red, "refused"), o.Reason)
	}
	explanationRow(out, "because", "%s", o.Why)
}

func explanationRow(out *term.Output, name, format string, args ...any) {
	fmt.Fprintf(out, "%-12s %s\n", name, fmt.Sprintf(format, args...))
}

// Tag prints what a session or a cookie names.
func Tag(out *term.Output, e *proxy.TagExplanation) {
	row := func(name, format string, args ...any) { explanationRow(out, name, format, args...) }
	node := OrDash(e.Node)
	if e.State != "" {
		node += " (" + e.State + ")"
	}
	row("names", "%s", node)
	switch {
	case e.Kept:
		row("verdict", "%s, goes to %s", out.Paint(term.Green, "accepted"), e.Node)
	case e.Status != 0:
		row("verdict", "%s with status %d", out.Paint(term.Red, "refused"), e.Status)
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
