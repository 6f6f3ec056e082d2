package loadtest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/fleet"
	"github.com/erlmcp/erlmcp/loadtest/internal/probe"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// aim is where a part of the clients connects, what it asks there, and what that part is made of. A run has one, a mix one for
// each of its transports.
type aim struct {
	to      target.Endpoint
	others  []netip.Addr   // of the same name, not taken
	trouble *probe.Trouble // to cannot be resolved, reached, or asked
	who     probe.Introduction
	work    work.Work
	driver  Driver
}

// names reports whether answers name a node.
func (a *aim) names() bool { return a.who.Naming != work.Nameless || a.work.Naming != work.Nameless }

// sessions reports whether clients have sessions that a balancer keeps on their node.
func (a *aim) sessions() bool { return a.to.Transport == target.HTTP && a.who.Era == mcp.SessionEra }

// perRequest reports whether a node is chosen for each request.
func (a *aim) perRequest() bool { return a.to.Transport == target.HTTP && !a.sessions() }

// sticks reports whether a client that comes back should meet its node: by its address over TCP, by its session over HTTP.
func (a *aim) sticks() bool { return a.to.Transport == target.TCP || a.sessions() }

// holds reports whether each client holds a connection to its node, that nobody shares: not where a balancer takes requests
// apart.
func (a *aim) holds() bool {
	return a.to.Transport != target.HTTP || a.driver == DriverSocket && a.who.Stream && a.sessions()
}

// counted reports whether a balancer counts a client from its first byte on.
func (a *aim) counted() bool { return a.to.Transport == target.TCP || a.to.Transport == target.WS }

// aims are those of a spec, without their addresses, or the reason why there are none.
func aims(s *Spec, o *system.Observation) ([]aim, *probe.Trouble) {
	mix, err := parseMix(s.Mix)
	if err != nil {
		return nil, unusable(err, "--mix tcp=70,http=30")
	}
	if mix == nil {
		to, trouble := endpointOf(s, s.Target)
		return []aim{{to: to, trouble: trouble, driver: driverOf(s.Driver, to.Transport)}}, trouble
	}
	var list []aim
	for _, m := range mix {
		at, trouble := mixTarget(s, o, m.transport)
		if trouble != nil {
			return nil, trouble
		}
		to, trouble := endpointOf(s, at)
		if trouble != nil {
			return nil, trouble
		}
		list = append(list, aim{to: to, driver: driverOf(s.Driver, m.transport)})
	}
	return list, nil
}

// driverOf is the one that clients of a transport are made of.
func driverOf(wanted Driver, over target.Transport) Driver {
	switch {
	case over != target.HTTP:
		return DriverSocket
	case wanted == DriverAuto:
		return DriverVegeta
	}
	return wanted
}

// Where nodes of this program have the transports beside Streamable HTTP. Others are found by asking, see probe.Trouble.
const (
	ssePath = target.DefaultPath + "/sse"
	wsPath  = target.DefaultPath + "/ws"
)

// mixTarget is where clients of a transport find the balancer that runs.
func mixTarget(s *Spec, o *system.Observation, over target.Transport) (string, *probe.Trouble) {
	if len(o.Listeners) == 0 {
		return "", &probe.Trouble{Blame: probe.Silent, Text: "no balancer runs on this machine to share clients out over", Need: "its listeners"}
	}
	scheme, path := map[target.Transport]string{target.TCP: "tcp", target.HTTP: "http", target.SSE: "http", target.WS: "ws"}[over], target.DefaultPath
	switch over {
	case target.TCP:
		path = ""
	case target.SSE:
		path = ssePath
	case target.WS:
		path = wsPath
	}
	for _, listener := range []struct{ name, scheme string }{{"tcp", "tcp"}, {"http", scheme}, {"https", scheme + "s"}} {
		if (listener.name == "tcp") != (over == target.TCP) {
			continue
		}
		for _, l := range o.Listeners {
			if name, address, _ := strings.Cut(l, " "); name == listener.name {
				return listener.scheme + "://" + hereAddress(address) + path, nil
			}
		}
	}
	return "", unusable(errors.New("the balancer that runs has no listener for "+string(over)), "leave "+string(over)+" out of --mix, or give it one (lb.listen)")
}

// hereAddress is where this machine finds a listener.
func hereAddress(listener string) string {
	at, err := netip.ParseAddrPort(listener)
	if err != nil || !at.Addr().IsUnspecified() {
		return listener
	}
	_, port, _ := net.SplitHostPort(listener)
	return net.JoinHostPort("127.0.0.1", port)
}

// introduce finds out who answers there, and whether what clients ask works.
func (a *aim) introduce(ctx context.Context, s *Spec) {
	if a.who, a.trouble = probe.Introduce(ctx, a.to, s.eras()...); a.trouble != nil {
		return
	}
	if a.work, a.trouble = workOf(s, &a.who); a.trouble != nil {
		return
	}
	script, err := a.work.Compile()
	if err != nil {
		a.trouble = unusable(err, fixOfWork)
		return
	}
	a.trouble = probe.Try(ctx, a.to, script)
}

const fixOfWork = "see to what clients are to ask (--tool, --args, --scenario)"

// workOf is what clients ask of a server that is known.
func workOf(s *Spec, who *probe.Introduction) (w work.Work, trouble *probe.Trouble) {
	var err error
	switch {
	case s.Scenario != "":
		w, err = work.ReadScenario(s.Scenario)
	case s.Tool != "":
		w, err = work.FromTool(s.Tool, s.Args)
	}
	if err == nil {
		w.Era, w.Verify, w.Naming = who.Era, who.Question, who.Naming
		if len(w.Steps) > 0 && who.ServedBy {
			w.Naming = work.ByHeader // the answers to steps name nobody
		}
		err = w.Validate()
	}
	if err != nil {
		return w, unusable(err, fixOfWork)
	}
	return w, nil
}

// open is the order to open a share of the plan that is this aim's.
func (a *aim) open(s fleet.Share) *wire.OpenOrder {
	driver := wire.Socket
	if a.driver == DriverVegeta {
		driver = wire.Vegeta
	}
	return &wire.OpenOrder{Driver: driver, Endpoint: a.to, Work: a.work, Connections: s.Connections, Sources: s.Sources}
}
