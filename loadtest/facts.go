package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// facts are what preflight finds out before it judges. Zero means not known, or no limit.
type facts struct {
	target      netip.AddrPort
	targetError *targetError      // target cannot be resolved, reached, or asked
	targetNode  string            // who answered
	question    ask.Question      // what it answers
	nameless    string            // why answers name no node, if they do not
	sources     sources.Range     // the common ones, those to take first at the beginning
	usedBefore  int               // of those the plan takes, by load tests that a balancer may still remember
	unreachable *unreachableError // why the addresses of the spec are not used; nil if they are
	host        Machine
	seen        Observation
}

// gather finds out all there is to know.
func gather(ctx context.Context, s *Spec, sys System) (facts, error) {
	var f facts
	descriptors, err := prefork.Limit()
	if err != nil {
		return f, err
	}
	if f.seen, err = sys.Observe(ctx); err != nil {
		return f, err
	}
	if f.target, err = resolve(ctx, s.Target); err != nil {
		f.targetError = &targetError{kind: targetSilent, text: err.Error()}
		return f, ctx.Err()
	}
	f.sources, f.unreachable = commonSources(s, f.target)
	f.targetError = f.introduce(ctx)
	f.host = ThisHost() // after the probe, which conntrack may have seen
	f.host.Descriptors = descriptors
	if f.targetError == nil {
		f.host.SourceError = cannotBind(f.sources)
	}
	return f, ctx.Err()
}

// endpoint is where clients connect to.
func (f *facts) endpoint() target.Endpoint {
	return target.Endpoint{
		Target:  target.Target{Transport: target.TCP, Host: f.target.Addr().String(), Port: f.target.Port()},
		Address: f.target,
	}
}

// work is what clients ask.
func (f *facts) work() work.Work {
	w := work.Work{Verify: f.question}
	if f.question.Names() {
		w.Naming = work.ByAnswer
	}
	return w
}

// completeTarget gives a target without a host, such as ":8000", the one that means this machine.
func completeTarget(target string) string {
	if strings.HasPrefix(target, ":") {
		return "127.0.0.1" + target
	}
	return target
}

// resolve returns the first address of host:port.
func resolve(ctx context.Context, target string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(completeTarget(target))
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(number)), nil
}

// commonSources are the addresses of the spec. Where connections from there cannot reach the target, the error tells
// it, and the kernel chooses: loopback addresses reach nothing else, and families do not mix.
func commonSources(s *Spec, target netip.AddrPort) (sources.Range, *unreachableError) {
	p, err := netip.ParsePrefix(s.SourceIPs)
	if err != nil { // empty
		return sources.KernelsChoice, nil
	}
	if p.Addr().Is4() != target.Addr().Is4() || p.Addr().IsLoopback() && !target.Addr().IsLoopback() {
		return sources.KernelsChoice, &unreachableError{p, target, s.SourceIPs == Default().SourceIPs}
	}
	return sources.In(p, maxConnections), nil
}

// unreachableError says that clients with addresses of a prefix cannot connect to a target.
type unreachableError struct {
	prefix    netip.Prefix
	target    netip.AddrPort
	byDefault bool // nobody has asked for the prefix
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("addresses of %s cannot connect to %s", e.prefix, e.target)
}

// fix is what to name instead.
func (e *unreachableError) fix() string {
	if e.target.Addr().IsLoopback() && e.target.Addr().Is4() {
		return "name a prefix within 127.0.0.0/8, or --source-ips '' for one address"
	}
	return fmt.Sprintf("name a prefix of this machine's addresses from which it reaches %s, or --source-ips '' for one address", e.target.Addr())
}

// cannotBind is why clients cannot connect from a range, as its first and last address tell.
func cannotBind(r sources.Range) error {
	if !r.First.IsValid() {
		return nil
	}
	return errors.Join(bindable(r.At(0)), bindable(r.At(r.Count-1)))
}

// bindable reports whether this machine has an address.
func bindable(a netip.Addr) error {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: a.AsSlice()})
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("this machine does not have the address %s", a)
	}
	if err != nil {
		return err
	}
	return l.Close()
}
