package cmd

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/erlmcp/erlmcp/cluster"
)

// parentNode is a node that is the child of another program: nothing ends it with the supervisor.
const parentNode = `erlmcp node serve --name "$1" --host 127.0.0.1 --tcp "$2" --http "$3" --sse "$4" &
node=$!
trap 'kill $node' TERM
wait $node
wait $node
`

// TestKilledSupervisorUnderLoad kills the supervisor while clients are served. What it leaves behind is ended,
// and not taken over, by the next start, at the latest: no node runs twice, no port is in the way, clients lose
// their connections to the nodes and are served again, and the balancer does not care.
func TestKilledSupervisorUnderLoad(t *testing.T) {
	for _, runtime := range []string{cluster.RuntimeEmbedded, cluster.RuntimeCommand} {
		t.Run(runtime, func(t *testing.T) {
			c := newChaos(t, 0)
			script := filepath.Join(c.dir, "node.sh")
			if err := os.WriteFile(script, []byte(parentNode), 0o600); err != nil {
				t.Fatal(err)
			}
			c.env = append(c.env, "ERLMCP_LB_LIMITS_EXEMPT=127.0.0.0/8", "ERLMCP_CLUSTER_RUNTIME="+runtime, "ERLMCP_CLUSTER_COMMAND_ARGV=sh,"+script+",{name},{tcp},{http},{sse}")
			c.must("up")
			before, err := cluster.Connect(c.dir).Status(c.Context())
			if err != nil {
				t.Fatal(err)
			}
			nodes := c.processes()
			nodes = slices.DeleteFunc(nodes, func(p chaosProcess) bool { return strings.Contains(p.args, " lb ") })
			balancer := c.pids("lb serve", "lb worker")

			var answered atomic.Int64
			var clients sync.WaitGroup
			for _, conn := range c.connect(20) {
				clients.Go(func() { converse(conn, &answered) })
			}
			c.await("load", func() bool { return answered.Load() >= 1000 })
			if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			c.must("cluster", "start")
			clients.Wait()
			for _, p := range nodes {
				c.await("the end of "+p.String(), func() bool { return !slices.Contains(c.processes(), p) })
			}
			c.await("health", func() bool { return c.command("health").Run() == nil })
			c.nothingTwice()
			if runtime == cluster.RuntimeEmbedded { // else a node's first process is another
				c.statesAreTrue()
			}
			for _, client := range c.connect(20) {
				client.Close()
			}
			if now := c.pids("lb serve", "lb worker"); !slices.Equal(now, balancer) {
				t.Errorf("the balancer was %v, is %v", balancer, now)
			}
			c.must("down")
			c.nothingIsLeft()
		})
	}
}

// converse asks over a connection as long as it lives, and counts the answers.
func converse(conn io.ReadWriteCloser, answers *atomic.Int64) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		if _, err := io.WriteString(conn, `{"jsonrpc":"2.0","id":1,"method":"ping"}`+"\n"); err != nil {
			return
		}
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
		answers.Add(1)
	}
}

// pids are those of the processes that play these roles.
func (c *chaos) pids(roles ...string) (list []int) {
	for _, p := range c.processes() {
		if slices.ContainsFunc(roles, func(role string) bool { return strings.Contains(p.args, role) }) {
			list = append(list, p.pid)
		}
	}
	return list
}
