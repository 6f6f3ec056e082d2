package show

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/proxy"
)

// Where tells what can be reached at the balancer's listeners.
func Where(listeners []proxy.ListenerStats) (lines []string) {
	var open []string
	for _, l := range listeners {
		at := hereAddress(l.Address)
		switch l.Name {
		case "tcp":
			lines = append(lines, "MCP over TCP, a message a line: "+at)
		case "http", "https":
			lines = append(lines, "MCP over HTTP: "+l.Name+"://"+at+"/mcp")
		case "admin":
			lines = append(lines, "dashboard: http://"+at+"/")
		}
		if !isLoopback(l.Address) {
			open = append(open, l.Name+" "+l.Address)
		}
	}
	if len(open) > 0 {
		lines = append(lines, "open to other machines: "+strings.Join(open, ", "))
	}
	return lines
}

// hereAddress is where this machine reaches a listener.
func hereAddress(listener string) string {
	host, port, err := net.SplitHostPort(listener)
	if err != nil {
		return listener
	}
	if at, err := netip.ParseAddr(host); host == "" || err == nil && at.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listener
}

func isLoopback(listener string) bool {
	at, err := netip.ParseAddrPort(listener)
	return err == nil && at.Addr().IsLoopback()
}

// FirstAddress is the first of the balancer's listeners.
func FirstAddress(s *proxy.Stats) string {
	for _, l := range s.Listeners {
		return l.Address
	}
	return "nobody"
}

// waits reports that there is a listener whose clients find no node.
func waits(s *proxy.Stats) bool {
	return slices.ContainsFunc(s.Listeners, func(l proxy.ListenerStats) bool {
		return l.Up && slices.Contains([]string{"tcp", "http", "https"}, l.Name) &&
			!slices.ContainsFunc(s.Nodes, func(n proxy.NodeStats) bool { return n.TakesClients(l.Name) })
	})
}

// NoNode tells of a balancer that has no node up why it has not: a line for each of them, and what to do.
// No lines mean that it has one. supervised reports whether a supervisor runs.
func NoNode(s *proxy.Stats, supervised func() bool) (reasons []string, advice string) {
	if !waits(s) {
		return nil, ""
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		switch {
		case n.Leaving || n.State == proxy.NodeUp:
		case n.Check.Error != "":
			reasons = append(reasons, n.Name+" is "+n.State+": "+n.Check.Error)
		default:
			reasons = append(reasons, n.Name+" is "+n.State)
		}
	}
	if !supervised() {
		return reasons, "erlmcp cluster start starts the nodes, unless they run elsewhere"
	}
	return reasons, "erlmcp cluster status shows the nodes, erlmcp lb enable NODE puts one back into service"
}

// Misfits are the nodes that are up, but answer with something else than MCP at their path.
func Misfits(s *proxy.Stats) (texts []string) {
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Check.Advice != "" && !n.Leaving {
			texts = append(texts, n.Name+" has "+n.Check.Advice)
		}
	}
	return texts
}
