package cmd

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// clusterFixture is "erlmcp up" with nodes n0, n1, … and a balancer, on free ports.
type clusterFixture struct {
	t    *testing.T
	base string // URL of the HTTP frontend
	env  []string
}

func startCluster(t *testing.T, n int) *clusterFixture {
	t.Helper()
	dir, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ports := freePorts(t, 3*n+2)
	front := "127.0.0.1:" + ports[3*n+1]
	var nodes []string
	for i := range n {
		nodes = append(nodes, fmt.Sprintf("{name: n%d, host: 127.0.0.1, tcp: %s, http: %s, sse: %s}", i, ports[3*i], ports[3*i+1], ports[3*i+2]))
	}
	c := &clusterFixture{t: t, base: "http://" + front}
	c.env = append(os.Environ(), "ERLMCP_STATE_DIR="+dir, "XDG_CONFIG_HOME="+dir,
		"ERLMCP_CLUSTER_NODES=["+strings.Join(nodes, ", ")+"]", "ERLMCP_LB_LISTEN_TCP=127.0.0.1:"+ports[3*n], "ERLMCP_LB_LISTEN_HTTP="+front,
		"ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=", "ERLMCP_LB_MAX_CONNECTIONS=1000", "ERLMCP_LB_STICKY_TCP=none",
		"ERLMCP_LB_BALANCE=roundrobin", "ERLMCP_LB_LIMITS_CONNECTIONS_PER_SECOND=0", "ERLMCP_LB_LIMITS_MESSAGES_PER_SECOND=0")
	c.run("up")
	t.Cleanup(func() { c.run("down") })
	return c
}

func (c *clusterFixture) run(args ...string) {
	c.t.Helper()
	cmd := exec.Command("erlmcp", args...)
	cmd.Env = c.env
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}
