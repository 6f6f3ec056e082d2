package cmd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/freeport"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// managed is a role of this program, run as a service manager runs one.
type managed struct {
	t    *testing.T
	said *net.UnixConn // what the manager is told
	cmd  *exec.Cmd
	log  strings.Builder
}

func startManaged(t *testing.T, env []string, args ...string) *managed {
	t.Helper()
	state, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	socket := filepath.Join(state, "notify")
	s := &managed{t: t}
	if s.said, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.said.Close() })
	s.cmd = exec.Command("/proc/self/exe", args...)
	s.cmd.Args[0] = "erlmcp" // which this binary then is
	s.cmd.Dir = state
	s.cmd.Env = append(os.Environ(), append([]string{
		"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=300000", "ERLMCP_STATE_DIR=" + state, "XDG_CONFIG_HOME=" + state,
	}, env...)...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		t.Skip("no /proc/self/exe here:", err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	return s
}

// await returns all messages up to the first that begins with want.
func (s *managed) await(want string) []string {
	s.t.Helper()
	var all []string
	buf := make([]byte, 1000)
	for {
		_ = s.said.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := s.said.Read(buf)
		if err != nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
			s.t.Fatalf("no %s after %q: %v; it wrote\n%s", want, all, err, s.log.String())
		}
		all = append(all, string(buf[:n]))
		if strings.HasPrefix(all[len(all)-1], want) {
			return all
		}
	}
}

// watched has the service end after signs of life, and says what it told of its end.
func (s *managed) watched() (stopping string) {
	s.t.Helper()
	s.await("READY=1")
	for range 3 {
		s.await("WATCHDOG=1")
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	said := s.await("STOPPING=1")
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("it ended with %v and wrote\n%s", err, s.log.String())
	}
	return said[len(said)-1]
}

func TestBalancerIsWatched(t *testing.T) {
	s := startManaged(t, []string{
		"ERLMCP_LB_LISTEN_TCP=127.0.0.1:0", "ERLMCP_LB_LISTEN_HTTP=", "ERLMCP_LB_LISTEN_ADMIN=", "ERLMCP_LB_LISTEN_HEALTH=",
		"ERLMCP_LB_NODES=[{name: a, tcp: 9}]", "ERLMCP_LB_WORKERS=2", "ERLMCP_LB_MAX_CONNECTIONS=100", "ERLMCP_LB_TIMEOUTS_DRAIN=5s",
	}, "lb", "serve")
	if got := s.watched(); got != "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000" {
		t.Errorf("it said %q of its end", got)
	}
}

func TestClusterIsWatched(t *testing.T) {
	ports, err := freeport.Find(1)
	if err != nil {
		t.Fatal(err)
	}
	s := startManaged(t, []string{
		fmt.Sprintf("ERLMCP_CLUSTER_NODES=[{name: a, tcp: %d}]", ports[0]), "ERLMCP_CLUSTER_STOP_TIMEOUT=20s",
		"ERLMCP_CLUSTER_NODE_MAX_CONNECTIONS=10",
	}, "cluster", "supervise")
	spec := cluster.Spec{Nodes: make([]topology.Node, 1), StopTimeout: 20 * time.Second}
	if got := s.watched(); got != fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", spec.StopsWithin().Microseconds()) {
		t.Errorf("it said %q of its end", got)
	}
}
