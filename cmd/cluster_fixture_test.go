package cmd

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
)

// clusterFixture is "erlmcp up" with nodes n0, n1, … and a balancer, on free ports.
type clusterFixture struct {
	*proxy.Client
	t         *testing.T
	nodes     []string
	entrances []entrance // plain and with TLS
	env       []string
}

func startCluster(t *testing.T, n int) *clusterFixture {
	t.Helper()
	dir, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ports := freePorts(t, 3*n+3)
	plain, secure := "127.0.0.1:"+ports[3*n+1], "127.0.0.1:"+ports[3*n+2]
	cert, key := selfSigned(t, dir)
	c := &clusterFixture{Client: proxy.Connect(dir), t: t, entrances: []entrance{{base: "http://" + plain}, {base: "https://" + secure, ca: cert}}}
	var nodes []string
	for i := range n {
		c.nodes = append(c.nodes, fmt.Sprintf("n%d", i))
		nodes = append(nodes, fmt.Sprintf("{name: %s, host: 127.0.0.1, tcp: %s, http: %s, sse: %s}", c.nodes[i], ports[3*i], ports[3*i+1], ports[3*i+2]))
	}
	c.env = append(os.Environ(), "ERLMCP_STATE_DIR="+dir, "XDG_CONFIG_HOME="+dir,
		"ERLMCP_CLUSTER_NODES=["+strings.Join(nodes, ", ")+"]", "ERLMCP_LB_LISTEN_TCP=127.0.0.1:"+ports[3*n], "ERLMCP_LB_LISTEN_HTTP="+plain,
		"ERLMCP_LB_LISTEN_HTTPS="+secure, "ERLMCP_LB_TLS_CERT="+cert, "ERLMCP_LB_TLS_KEY="+key,
		"ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=", "ERLMCP_LB_MAX_CONNECTIONS=1000", "ERLMCP_LB_STICKY_TCP=none",
		"ERLMCP_LB_BALANCE=roundrobin", "ERLMCP_LB_LIMITS_CONNECTIONS_PER_SECOND=0", "ERLMCP_LB_LIMITS_MESSAGES_PER_SECOND=0")
	c.run("up")
	t.Cleanup(func() { c.run("down") })
	return c
}

// overEach runs a test over each entrance.
func (c *clusterFixture) overEach(t *testing.T, test func(t *testing.T, via entrance)) {
	for _, via := range c.entrances {
		t.Run(via.scheme(), func(t *testing.T) { test(t, via) })
	}
}

func (c *clusterFixture) run(args ...string) {
	c.t.Helper()
	if out, err := c.command(args...).CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// command is erlmcp in the state directory of the cluster.
func (c *clusterFixture) command(args ...string) *exec.Cmd {
	cmd := exec.Command("erlmcp", args...)
	cmd.Env = c.env
	return cmd
}

// restart starts a node that was stopped or killed, and returns when the balancer has it back.
func (c *clusterFixture) restart(node string) {
	c.t.Helper()
	c.run("cluster", "start", node)
	c.await(node, proxy.NodeUp)
}

// await returns when the balancer has that state of a node.
func (c *clusterFixture) await(node, state string) {
	c.t.Helper()
	waittest.For(c.t, time.Minute, node+" is "+state, func() (seen string, wanted bool) {
		s, err := c.Stats(c.t.Context())
		return fmt.Sprintf("%+v, %v", s.Nodes, err), err == nil && s.Node(node) != nil && s.Node(node).State == state
	})
}
