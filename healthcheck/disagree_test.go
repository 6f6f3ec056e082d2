package healthcheck

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/erlmcp/erlmcp/internal/topology"
)

func TestDisagreement(t *testing.T) {
	for _, c := range []struct {
		tcp, http, balancer, want int
	}{
		{100, 0, 100, 0},
		{100, 0, 50, 0},
		{101, 0, 50, -51},
		{0, 0, 51, 51},
		{0, 400, 10, 0},   // idle connections to HTTP are the balancer's own affair
		{0, 400, 460, 60}, // but it cannot have more than the kernel
		{25_000, 0, 25_500, 0},
		{25_000, 0, 25_520, 520},
		{25_520, 0, 25_000, -520},
	} {
		if got := disagreement(map[string]int{"tcp": c.tcp, "http": c.http}, c.balancer); got != c.want {
			t.Errorf("%d and %d to %d: %d, want %d", c.tcp, c.http, c.balancer, got, c.want)
		}
	}
}

// TestSecondLook believes a disagreement only when it is there both times, in the same direction.
func TestSecondLook(t *testing.T) {
	for _, c := range []struct {
		kernel, balancer [2]int
		want             string
	}{
		{[2]int{1000, 1000}, [2]int{1000, 1000}, "[]"},
		{[2]int{1000, 1000}, [2]int{700, 800}, "[erlmcp1 has 200 connections that are not the load balancer's]"},
		{[2]int{1000, 1000}, [2]int{1300, 1400}, "[the load balancer counts 400 connections to erlmcp1 that the kernel does not have]"},
		{[2]int{1000, 2000}, [2]int{1200, 1950}, "[]"}, // a ramp, looked at in opposite orders
		{[2]int{1000, 2000}, [2]int{1200, 1800}, "[]"},
		{[2]int{1000, 1000}, [2]int{0, 1000}, "[]"},
	} {
		synctest.Test(t, func(t *testing.T) {
			kernelLooks, balancerLooks := 0, 0
			collector := Collector{
				Spec:  quick(),
				Nodes: topology.Default(1),
				Count: func(_ context.Context, servers []netip.AddrPort) ([]int, error) {
					counts := make([]int, len(servers))
					counts[0] = c.kernel[kernelLooks]
					kernelLooks++
					return counts, nil
				},
			}
			balancer := func(context.Context) (*Balancer, error) {
				b := &Balancer{Nodes: []BalancerNode{{Name: "erlmcp1", State: "up", Connections: c.balancer[balancerLooks]}}}
				balancerLooks++
				return b, nil
			}
			f := serving()
			f.nodes, f.checks = collector.Nodes, f.checks[:1]
			f.counts, _ = collector.countNodes(t.Context())
			f.balancer.balancer, _ = balancer(t.Context())
			f.balancer.again = balancer
			collector.lookAgain(t.Context(), f)
			if r := f.report(); fmt.Sprint(r.Reasons) != c.want {
				t.Errorf("%v %v: %q, want %s", c.kernel, c.balancer, r.Reasons, c.want)
			} else if *r.Nodes[0].BalancerConnections != c.balancer[0] {
				t.Errorf("the balancer's count is %d", *r.Nodes[0].BalancerConnections)
			}
		})
	}
}
