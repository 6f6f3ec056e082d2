package cmd

import (
	"fmt"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/topology"
)

func TestBalancerIsWatched(t *testing.T) {
	s := startService(t, []string{
		"ERLMCP_LB_LISTEN_TCP=127.0.0.1:0", "ERLMCP_LB_LISTEN_HTTP=", "ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=",
		"ERLMCP_LB_NODES=[{name: a, tcp: 9}]", "ERLMCP_LB_WORKERS=2", "ERLMCP_LB_MAX_CONNECTIONS=100", "ERLMCP_LB_TIMEOUTS_DRAIN=5s",
	}, "lb", "serve")
	s.awaitSigns(3)
	if got := s.stop(); got != "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000" {
		t.Errorf("it said %q of its end", got)
	}
}

func TestClusterIsWatched(t *testing.T) {
	s := startService(t, []string{
		fmt.Sprintf("ERLMCP_CLUSTER_NODES=[{name: a, tcp: %s}]", freePorts(t, 1)[0]), "ERLMCP_CLUSTER_STOP_TIMEOUT=20s",
		"ERLMCP_CLUSTER_NODE_MAX_CONNECTIONS=10",
	}, "cluster", "supervise")
	s.awaitSigns(3)
	spec := cluster.Spec{Nodes: make([]topology.Node, 1), StopTimeout: 20 * time.Second}
	if got := s.stop(); got != fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", spec.StopsWithin().Microseconds()) {
		t.Errorf("it said %q of its end", got)
	}
}
