package healthcheck

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"

	probing "github.com/prometheus-community/pro-bing"
)

// pingRight says what an ICMP echo takes.
const pingRight = "not allowed to ping: sysctl -w net.ipv4.ping_group_range='0 2147483647', or give the program CAP_NET_RAW"

// probeICMP sends one echo request to the host of the target: over a datagram socket, which takes no
// privilege where the system allows it, else over a raw one.
func probeICMP(ctx context.Context, t Target) Result {
	a := begin(ctx, "icmp", t)
	defer func() { a.end() }()
	host, _, err := net.SplitHostPort(t.Address)
	if err != nil {
		host = t.Address // icmp knows no ports
	}
	addrs, err := net.DefaultResolver.LookupIPAddr(a.ctx, host)
	if err != nil {
		if a.ctx.Err() != nil {
			a.expired(CauseResolve, "no address within %v")
		} else {
			a.failed(err)
		}
		return a.result
	}
	for _, privileged := range []bool{false, true} {
		if err = a.ctx.Err(); err != nil { // an echo may be faster than what watches the context
			break
		}
		p := probing.New(addrs[0].String())
		p.SetIPAddr(&addrs[0])
		p.SetPrivileged(privileged)
		p.SetLogger(probing.NoopLogger{})
		p.Count = 1
		p.Timeout = a.limit
		err = p.RunWithContext(a.ctx)
		if s := p.Statistics(); s.PacketsRecv > 0 {
			a.succeed(s.AvgRtt)
			return a.result
		}
		if !forbidden(err) {
			break
		}
	}
	switch {
	case forbidden(err):
		a.fail(CauseLocal, pingRight)
	case err == nil, a.ctx.Err() != nil:
		a.expired(CauseUnreachable, "no echo within %v")
	default:
		a.failed(err)
	}
	return a.result
}

func forbidden(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EPROTONOSUPPORT)
}
