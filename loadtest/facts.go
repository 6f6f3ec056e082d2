package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/probe"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// facts are what preflight finds out before it judges. Zero means not known, or no limit.
type facts struct {
	to          target.Endpoint
	target      netip.AddrPort // the address of to
	others      []netip.Addr   // of the same name, not taken
	trouble     *probe.Trouble // to cannot be resolved, reached, or asked
	who         probe.Introduction
	asked       work.Work         // what clients are to ask, by the spec
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
	if f.trouble = f.locate(ctx, s); f.trouble != nil {
		return f, ctx.Err()
	}
	f.sources, f.unreachable = commonSources(s, f.target)
	f.trouble = f.introduce(ctx, s)
	f.host = ThisHost() // after the probe, which conntrack may have seen
	f.host.Descriptors = descriptors
	if f.trouble == nil {
		f.host.SourceError = cannotBind(f.sources)
	}
	return f, ctx.Err()
}

// locate finds where clients connect to, and asks nobody there.
func (f *facts) locate(ctx context.Context, s *Spec) (trouble *probe.Trouble) {
	if f.to, trouble = endpointOf(s); trouble != nil {
		return trouble
	}
	f.to.Address, f.others, trouble = probe.Locate(ctx, f.to.Target, s.AllowRemoteTarget)
	f.target = f.to.Address
	return trouble
}

// introduce finds out who answers there, and whether what clients ask works.
func (f *facts) introduce(ctx context.Context, s *Spec) (trouble *probe.Trouble) {
	if f.who, trouble = probe.Introduce(ctx, f.to); trouble != nil {
		return trouble
	}
	if f.asked, trouble = askedOf(s, f.who.Era); trouble != nil {
		return trouble
	}
	script, err := f.work().Compile()
	if err != nil {
		return unusable(err, "see to what clients are to ask (--tool, --args, --scenario)")
	}
	return probe.Try(ctx, f.to, script)
}

// endpoint is where clients connect to.
func (f *facts) endpoint() target.Endpoint { return f.to }

// work is what clients ask.
func (f *facts) work() work.Work {
	w := f.asked
	w.Era, w.Verify, w.Naming = f.who.Era, f.who.Question, f.who.Naming
	if len(w.Steps) > 0 && f.who.ServedBy {
		w.Naming = work.ByHeader // the answers to steps name nobody
	}
	return w
}

// names reports whether answers name a node.
func (f *facts) names() bool { return f.who.Naming != work.Nameless }

// resolve returns the first address of host:port.
func resolve(ctx context.Context, address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
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
