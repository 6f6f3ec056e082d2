package healthcheck

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// verdict judges a report that is otherwise complete.
//
//	unknown   the round was given up, there is nothing to judge, or no node could be asked
//	down      no node is up, or none over TCP or none over HTTP, or the balancer runs but clients get no answer through it, and not
//	          only because it has yet to notice that a node is down, or serves as many as it may
//	degraded  anything else is not as it should be
//	healthy   nothing is
func (f *findings) verdict(r *Report) (Status, []string) {
	if f.canceled {
		return StatusUnknown, []string{"the round was not finished"}
	}
	if len(r.Nodes) == 0 {
		return StatusUnknown, []string{"no nodes are configured"}
	}
	var grave, minor []string
	count := make(map[string]int)
	for _, n := range r.Nodes {
		count[n.Status]++
		minor = append(minor, nodeReasons(n)...)
	}
	for i, n := range f.disagree {
		if n != 0 {
			minor = append(minor, disagreementReason(r.Nodes[i].Name, n))
		}
	}
	minor = append(minor, clusterReasons(r.Cluster)...)
	lb := &r.LoadBalancer
	switch {
	case !lb.Running:
	case len(lb.Checks) == 0:
		grave = append(grave, "the load balancer takes no clients")
	case !succeeded(lb.Checks):
		text := "a client got no answer from the load balancer: " + failure(lb.Checks)
		switch {
		case slices.ContainsFunc(r.Nodes, unnoticed):
			minor = slices.Insert(minor, 0, text) // the next one will go elsewhere
		case isFull(r):
			minor = slices.Insert(minor, 0, fmt.Sprintf("the load balancer is full: it serves %d clients and turns others away", *lb.Clients))
		default:
			grave = append(grave, text)
		}
	}
	switch {
	case count[NodeUnknown] == len(r.Nodes):
		return StatusUnknown, append([]string{"no node could be checked"}, minor...)
	case count[NodeUp]+count[NodeDegraded] == 0:
		grave = append(grave, "no node is up")
	default:
		grave = append(grave, unserved(r.Nodes)...)
	}
	minor = slices.Concat(balancerReasons(lb, f.balancer.err), certificateReasons(lb.TLS, r.Time), minor)
	reasons := slices.Concat(grave, minor)
	switch {
	case len(grave) > 0:
		return StatusDown, reasons
	case len(minor) > 0:
		return StatusDegraded, reasons
	}
	return StatusHealthy, nil
}

// isFull reports that the balancer serves as many clients as it admits.
func isFull(r *Report) bool {
	clients := r.LoadBalancer.Clients
	return clients != nil && r.Connections.Capacity > 0 && *clients >= r.Connections.Capacity
}

// unnoticed reports that the balancer still sends clients to a node that is down.
func unnoticed(n NodeHealth) bool {
	return (n.Status == NodeDown || n.Status == NodeDegraded) && n.Balancer == NodeUp
}

// unserved says which clients find no node: those of lines, or those of HTTP, whom an SSE port serves only
// where there is no other.
func unserved(nodes []NodeHealth) (reasons []string) {
	for _, alike := range [][]string{{OverTCP}, {OverHTTP, OverSSE}} {
		for _, transport := range alike {
			asked, up := false, false
			for _, n := range nodes {
				asked = asked || slices.ContainsFunc(n.Checks, func(r Result) bool { return r.Transport == transport })
				up = up || upOver(n.Checks, transport)
			}
			if asked && !up {
				reasons = append(reasons, "no node is up over "+transport)
			}
			if asked {
				break
			}
		}
	}
	return reasons
}

func nodeReasons(n NodeHealth) []string {
	switch {
	case unnoticed(n):
		return []string{fmt.Sprintf("%s is %s, which the load balancer has not noticed yet (%s)", n.Name, n.Status, failure(n.Checks))}
	case n.Status != NodeUp:
		return []string{fmt.Sprintf("%s is %s (%s)", n.Name, n.Status, failure(n.Checks))}
	case n.Balancer == NodeDown, n.Balancer == NodeDegraded:
		return []string{n.Name + " is up, but the load balancer holds it for " + n.Balancer}
	case n.Balancer != "" && n.Balancer != "up":
		return []string{fmt.Sprintf("%s is in state %s", n.Name, n.Balancer)}
	}
	return nil
}

func balancerReasons(lb *LoadBalancer, err error) []string {
	switch {
	case !lb.Running && err != nil:
		return []string{"no load balancer can be asked: " + err.Error()}
	case !lb.Running && lb.Error != "":
		return []string{"no load balancer is running: " + lb.Error}
	case !lb.Running:
		return []string{"no load balancer is running"}
	case err != nil:
		return []string{"the load balancer does not tell its state: " + err.Error()}
	}
	var reasons []string
	if lb.State != "" && lb.State != "running" {
		reasons = append(reasons, "the load balancer is "+lb.State)
	}
	for _, l := range lb.Listeners {
		if !l.Up && !isOpen(lb.Listeners, l.Name) {
			reasons = append(reasons, fmt.Sprintf("the load balancer's listener %s, %s, is down", l.Name, l.Address))
		}
	}
	return reasons
}

// isOpen reports whether a listener with that name is up. After a reload the old one of that name
// may still be there, draining.
func isOpen(listeners []Listener, name string) bool {
	return slices.ContainsFunc(listeners, func(l Listener) bool { return l.Name == name && l.Up })
}

// failure names the checks that failed, those that failed in the same way together: "tcp, mcp:
// connection refused".
func failure(checks []Result) string {
	kinds := make(map[string][]string)
	var texts []string
	for _, r := range checks {
		if r.OK {
			continue
		}
		if kinds[r.Error] == nil {
			texts = append(texts, r.Error)
		}
		kinds[r.Error] = append(kinds[r.Error], r.Name())
	}
	for i, text := range texts {
		texts[i] = strings.Join(kinds[text], ", ") + ": " + text
	}
	return strings.Join(texts, "; ")
}

// remaining is a time in whole days, or in hours if it is less than two days.
func remaining(left time.Duration) string {
	if left < 48*time.Hour {
		return fmt.Sprintf("%.0f hours", left.Hours())
	}
	return fmt.Sprintf("%.0f days", left.Hours()/24)
}

// renewal is how long before its end a certificate should have been renewed.
const renewal = 14 * 24 * time.Hour

func certificateReasons(handshake *Result, now time.Time) []string {
	switch {
	case handshake == nil:
		return nil
	case !handshake.OK:
		return []string{"https: " + handshake.Error}
	}
	expires, err := time.Parse(time.RFC3339, handshake.Detail["expires"])
	if left := expires.Sub(now); err == nil && left < renewal {
		return []string{fmt.Sprintf("https: the certificate expires %s, in %s", expires.Format(time.DateOnly), remaining(left))}
	}
	return nil
}
