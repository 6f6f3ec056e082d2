package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/cluster/internal/process"
	"github.com/erlmcp/erlmcp/cluster/nodelog"
	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/cgroup"
	"github.com/erlmcp/erlmcp/internal/control"
)

// Preflight reports what would keep a cluster from starting after the nodes that run have been stopped, as far as that
// can be told while they run: programs and files, the state directory, the logs, the limits here, and ports that
// none of them holds. It makes the logs' directory if that is missing, and nothing else. It is for the process that
// starts the supervisor, or for the supervisor itself.
func Preflight(ctx context.Context, spec Spec, stateDir string, running []NodeStatus) error {
	if err := Check(spec); err != nil {
		return err
	}
	if err := checkStateDir(stateDir); err != nil {
		return err
	}
	if err := checkLogs(spec, stateDir); err != nil {
		return err
	}
	if err := checkContainment(spec.Containment); err != nil {
		return err
	}
	if err := checkTasks(spec); err != nil {
		return err
	}
	conflicts := slices.DeleteFunc(portConflicts(ctx, spec.Nodes), func(c Conflict) bool { return heldBy(running, c.Address) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(conflicts) > 0 {
		return &PortsError{conflicts}
	}
	return nil
}

// checkStateDir reports a state directory that this user cannot use.
func checkStateDir(dir string) error {
	if err := control.PrepareDir(dir); err != nil {
		return err
	}
	if err := mayWrite(dir, true); err != nil {
		return &control.DirError{Dir: dir, Reason: fmt.Sprintf("cannot be written: %v", err)}
	}
	for _, name := range []string{"erlang", "logs"} { // what nodes had from somebody else
		if path := filepath.Join(dir, name); isDir(path) {
			if err := mayWrite(path, true); err != nil {
				return &control.DirError{Dir: dir, Reason: fmt.Sprintf("cannot be used: %v", err)}
			}
		}
	}
	return nil
}

// checkLogs reports nodes whose logs cannot be written.
func checkLogs(spec Spec, stateDir string) error {
	dir := LogDir(stateDir, spec)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nodelog.Unwritable(dir, err)
	}
	probe, err := os.CreateTemp(dir, ".probe-*") // says what no mode says: a read-only or full file system, say
	if err != nil {
		return nodelog.Unwritable(dir, err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nodelog.Unwritable(dir, err)
	}
	for _, n := range spec.Nodes {
		path := nodelog.Path(dir, n.Name)
		info, err := os.Stat(path)
		switch {
		case os.IsNotExist(err):
			continue
		case err == nil && info.IsDir():
			err = fmt.Errorf("%s is a directory", path)
		case err == nil:
			err = mayWrite(path, false)
		}
		if err != nil {
			return nodelog.Unwritable(dir, err)
		}
	}
	return nil
}

// mayWrite reports why this process may not write a file, or a directory.
func mayWrite(path string, dir bool) error {
	mode := uint32(unix.W_OK)
	if dir {
		mode |= unix.X_OK
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// heldBy reports whether nodes that run hold an address, so that it is free when they have ended.
func heldBy(running []NodeStatus, address string) bool {
	return slices.ContainsFunc(running, func(n NodeStatus) bool {
		return n.PID != 0 && slices.ContainsFunc([]string{n.TCP, n.HTTP, n.SSE}, func(held string) bool { return overlap(held, address) })
	})
}

// overlap reports whether who listens on one address can keep another one from listening on the other.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB {
		return false
	}
	ipA, errA := netip.ParseAddr(hostA)
	ipB, errB := netip.ParseAddr(hostB)
	if errA != nil || errB != nil { // a name may be any address
		return true
	}
	return ipA == ipB || ipA.IsUnspecified() || ipB.IsUnspecified()
}

// check reports what would keep nodes that run from starting again with what they were started with.
func (s *supervisor) check(picked []*machine) error {
	spec := s.currentSpec()
	spec.Nodes = nil
	for _, m := range picked {
		spec.Nodes = append(spec.Nodes, m.node)
		if err := executable(m.program); err != nil {
			return fmt.Errorf("%s cannot be started again, so it was not stopped: %w", m.node.Name, err)
		}
	}
	if s.configured {
		if _, err := runtimeOf(spec, s.options.StateDir, s.options.NodeArgs); err != nil {
			return err
		}
	}
	return checkLogs(spec, s.options.StateDir)
}

// executable reports a program that is not there any more.
func executable(p process.Program) error {
	if err := unix.Faccessat(unix.AT_FDCWD, p.Path, unix.X_OK, unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "execute", Path: p.Path, Err: err}
	}
	if p.Dir != "" && !isDir(p.Dir) {
		return fmt.Errorf("there is no directory %s", p.Dir)
	}
	return interpreted(p.Path)
}

// tasksOf is the least number of processes and threads that a node of a runtime is made of.
var tasksOf = map[string]int{RuntimeEmbedded: 5, RuntimeErlang: 8, RuntimeCommand: 1}

// tasksOfSupervisor is the same for the supervisor.
const tasksOfSupervisor = 5

// checkTasks reports a cgroup in which there may not be as many processes and threads as the cluster needs at least.
func checkTasks(spec Spec) error {
	most, where := cgroup.MaxPids()
	need := tasksOfSupervisor + len(spec.Nodes)*tasksOf[spec.Runtime]
	if where == "" || int64(need) <= most {
		return nil
	}
	return advice.With(fmt.Errorf("cluster.nodes: %d nodes need at least %d processes and threads, and %s allows %d", len(spec.Nodes), need, where, most),
		"raise it (TasksMax= of a systemd unit, --pids-limit of a container), or run fewer nodes")
}
