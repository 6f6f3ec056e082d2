package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/probe"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
	"github.com/erlmcp/erlmcp/loadtest/machine"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// facts are what preflight finds out before it judges. Zero means not known, or no limit.
type facts struct {
	aims        []aim
	trouble     *probe.Trouble    // of the first aim that has any
	sources     sources.Range     // the common ones, those to take first at the beginning
	usedBefore  int               // of those the plan takes, by load tests that a balancer may still remember
	unreachable *unreachableError // why the addresses of the spec are not used; nil if they are
	host        machine.Facts
	seen        system.Observation
}

// gather finds out all there is to know.
func gather(ctx context.Context, s *Spec, sys system.System) (facts, error) {
	var f facts
	descriptors, err := prefork.Limit()
	if err != nil {
		return f, err
	}
	if f.seen, err = sys.Observe(ctx); err != nil {
		return f, err
	}
	if f.aims, f.trouble = aims(s, &f.seen); f.trouble == nil {
		f.locate(ctx, s)
	}
	if f.trouble != nil {
		return f, ctx.Err()
	}
	f.sources, f.unreachable = commonSources(s, f.target())
	f.introduce(ctx, s)
	f.host = machine.This() // after the probe, which conntrack may have seen
	f.host.Descriptors = descriptors
	if f.trouble == nil {
		f.host.SourceError = cannotBind(f.sources)
	}
	return f, ctx.Err()
}

// locate finds where clients connect to, and asks nobody there.
func (f *facts) locate(ctx context.Context, s *Spec) {
	for i := range f.aims {
		a := &f.aims[i]
		if a.to.Address, a.others, a.trouble = probe.Locate(ctx, a.to.Target, s.AllowRemoteTarget); a.trouble != nil {
			f.trouble = a.trouble
			return
		}
	}
}

// introduce finds out who answers there, and whether what clients ask works.
func (f *facts) introduce(ctx context.Context, s *Spec) {
	for i := range f.aims {
		a := &f.aims[i]
		if a.introduce(ctx, s); a.trouble != nil {
			f.trouble = a.trouble
			return
		}
	}
}

// target is the address that most is said of: the first one's.
func (f *facts) target() netip.AddrPort {
	if len(f.aims) == 0 {
		return netip.AddrPort{}
	}
	return f.aims[0].to.Address
}

// names reports whether all answers name a node.
func (f *facts) names() bool { return f.all((*aim).names) }

// all reports whether something is so of all aims.
func (f *facts) all(is func(*aim) bool) bool {
	for i := range f.aims {
		if !is(&f.aims[i]) {
			return false
		}
	}
	return true
}

// any reports whether something is so of an aim.
func (f *facts) any(is func(*aim) bool) bool {
	return !f.all(func(a *aim) bool { return !is(a) })
}

// think is the time between two requests of a client, zero if the scenario says none.
func (f *facts) think() work.Think {
	if len(f.aims) == 0 {
		return work.Think{}
	}
	return f.aims[0].work.Think
}

// drivers are those of all aims.
func (f *facts) drivers() string {
	var names []string
	for _, a := range f.aims {
		if !slices.Contains(names, string(a.driver)) {
			names = append(names, string(a.driver))
		}
	}
	return strings.Join(names, ", ")
}

// nameless is why answers name no node, if they do not.
func (f *facts) nameless() string {
	for i := range f.aims {
		if a := &f.aims[i]; !a.names() {
			return a.who.Nameless
		}
	}
	return ""
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
