package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/erlmcp/erlmcp/internal/sockdiag"
)

// balancerFinding is what a round learned about the balancer.
type balancerFinding struct {
	balancer  *Balancer // nil when none was found
	err       error     // why the one of this state directory did not answer
	note      string    // who else is in its place
	listeners []Listener
	again     func(context.Context) (*Balancer, error) // asks once more; nil when nobody can be asked
	https     *Result                                  // a TLS handshake with the HTTPS listener; nil when there is none
	door      []Result                                 // a request through each listener; none when there is no such listener
}

// engines are the programs that are known to be balancers, by the name of their process.
var engines = map[string]string{"erlmcp": "builtin", "haproxy": "haproxy", "nginx": "nginx"}

// findBalancer asks the balancer of this state directory. When it does not answer, or there is none,
// it looks who listens where the balancer would.
func (c *Collector) findBalancer(ctx context.Context) balancerFinding {
	var f balancerFinding
	if c.Balancer != nil {
		limited, cancel := context.WithTimeout(ctx, c.Spec.Timeout)
		f.balancer, f.err = c.Balancer(limited)
		cancel()
	}
	if f.err == nil && f.balancer != nil {
		f.listeners, f.again = f.balancer.Listeners, c.Balancer
	} else {
		f.balancer, f.listeners, f.note = c.findStranger(ctx)
		f.again = c.interrogate(ctx, &f)
	}
	f.door = c.knock(ctx, f.listeners)
	f.https = c.handshake(ctx, f.listeners)
	if f.balancer == nil && succeeded(f.door) {
		f.balancer = &Balancer{Engine: "unknown"} // whoever it is, it serves: HAProxy of another user, for one
	}
	return f
}

// findStranger looks for a balancer that cannot be asked, by the addresses it would listen on. note
// says who is there when it is none.
func (c *Collector) findStranger(ctx context.Context) (b *Balancer, listeners []Listener, note string) {
	for _, l := range c.Listen {
		l.Up = false
		addr, ok := addrPort(ctx, l.Address)
		if !ok {
			listeners = append(listeners, l)
			continue
		}
		pid, process, err := c.holder(addr)
		l.Up = err == nil
		listeners = append(listeners, l)
		engine := engines[process]
		switch {
		case errors.Is(err, sockdiag.ErrNotListening):
		case err != nil:
			note = err.Error()
		case engine != "" && b == nil:
			b = &Balancer{Engine: engine, PID: pid}
		case engine == "" && process != "":
			note = fmt.Sprintf("%s is in use by %s (process %d)", l.Address, process, pid)
		case engine == "":
			note = l.Address + " is in use by a process of another user"
		}
	}
	return b, listeners, note
}

// interrogate asks a balancer of another kind for its statistics, and returns how to ask again.
func (c *Collector) interrogate(ctx context.Context, f *balancerFinding) func(context.Context) (*Balancer, error) {
	if f.balancer == nil || f.balancer.Engine == "builtin" {
		return nil
	}
	found := *f.balancer
	ask := func(ctx context.Context) (*Balancer, error) {
		limited, cancel := context.WithTimeout(ctx, c.Spec.Timeout)
		defer cancel()
		b := found
		err := c.askForeign(limited, &b)
		return &b, err
	}
	told, err := ask(ctx)
	if err != nil {
		return nil // it balances all the same; only the numbers are missing
	}
	f.balancer = told
	return ask
}

// handshake looks at the certificate that clients of the HTTPS listener get.
func (c *Collector) handshake(ctx context.Context, listeners []Listener) *Result {
	for _, l := range listeners {
		if l.Name == "https" && l.Up {
			r := probeTLS(ctx, Target{Address: dialable(l.Address), Timeout: c.Spec.Timeout})
			return &r
		}
	}
	return nil
}

// knock makes a request as a client would at each door that is meant to be open: by lines, and by HTTP.
func (c *Collector) knock(ctx context.Context, listeners []Listener) (results []Result) {
	for _, l := range listeners {
		if !l.Up || l.Name != OverTCP && l.Name != OverHTTP {
			continue
		}
		target := Target{Address: dialable(l.Address), Timeout: c.Spec.Timeout, Transport: l.Name}
		if len(c.Nodes) > 0 {
			target.Path = c.Nodes[0].MCPPath() // what the balancer passes on
		}
		r := probeMCP(ctx, target)
		if refusal := r.Detail["refusal"]; refusal != "" { // alive is not enough here
			r = Result{Kind: r.Kind, Transport: r.Transport, Cause: CauseRefused, Error: "refused: " + refusal}
		}
		results = append(results, r)
	}
	return results
}

// dialable turns an address to listen on into one to connect to.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	switch addr, err := netip.ParseAddr(host); {
	case host == "" || err == nil && addr == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && addr.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// addrPort resolves an address to listen on. Port 0 is no address yet.
func addrPort(ctx context.Context, address string) (netip.AddrPort, bool) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return netip.AddrPort{}, false
	}
	if host == "" {
		return netip.AddrPortFrom(netip.Addr{}, uint16(port)), true
	}
	addrs := resolve(ctx, host)
	if len(addrs) == 0 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addrs[0], uint16(port)), true
}
