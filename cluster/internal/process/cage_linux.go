package process

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/charmbracelet/log"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/cluster/internal/cgroupfs"
)

// Cage is the cgroups (v2) of a supervisor, below the one that it was started in:
//
//	HOME                       is left as it was found
//	HOME/erlmcp-RANDOM         the cage; its path is in the state directory as long as it exists
//	…/supervisor               this process: in a tree that can have controllers, only leaves have processes
//	…/NAME                     a cell: one life of a process, and whatever it starts
//
// It is no prison: a process that may write to HOME can leave. But nothing gets out by forking, by setsid or by
// emptying its environment.
type Cage struct {
	home, dir, record string
	log               *log.Logger
}

const (
	cagePrefix     = "erlmcp-"
	supervisorLeaf = "supervisor"
	// clearPatience is how long a cell's processes may take to die: one with tens of thousands of sockets
	// needs a while, and one that waits for a dead disk has for ever.
	clearPatience = 5 * time.Second
)

// CheckCage reports why there cannot be a cage here.
func CheckCage() error {
	home, err := cgroupfs.Own()
	if err != nil {
		return err
	}
	if filepath.Base(home) == supervisorLeaf { // this process is in a cage already
		return nil
	}
	if err := canClone(); err != nil {
		return err
	}
	for _, to := range []struct {
		path string
		mode uint32
	}{{home, unix.W_OK | unix.X_OK}, {filepath.Join(home, "cgroup.procs"), unix.W_OK}} {
		if err := unix.Faccessat(unix.AT_FDCWD, to.path, to.mode, unix.AT_EACCESS); err != nil {
			return &os.PathError{Op: "write", Path: to.path, Err: err}
		}
	}
	return nil
}

// NewCage makes a cage and moves this process into it; delegated says that there is to be none unless the service manager
// has said that this process's cgroup is its own to divide. The file record tells of the cage until that is closed, see
// [Sweep]. When it fails, nothing is left of it.
func NewCage(record string, delegated bool, log *log.Logger) (*Cage, error) {
	home, err := cgroupfs.Own()
	if err != nil {
		return nil, err
	}
	if delegated && !cgroupfs.Delegated(home) {
		return nil, fmt.Errorf("%s is not delegated to this service", home)
	}
	if err := canClone(); err != nil {
		return nil, err
	}
	c := &Cage{home, filepath.Join(home, cagePrefix+strings.ToLower(rand.Text())), record, log}
	err = os.WriteFile(record, []byte(c.dir), 0o600)
	if err == nil {
		err = os.MkdirAll(c.leaf(), 0o755)
	}
	if err == nil {
		err = cgroupfs.Kills(c.dir)
	}
	if err == nil {
		err = cgroupfs.Join(c.leaf(), 0)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Dir is the cage's cgroup.
func (c *Cage) Dir() string { return c.dir }

func (c *Cage) leaf() string { return filepath.Join(c.dir, supervisorLeaf) }

// canClone reports why a process cannot be made in a cgroup.
func canClone() error {
	// With nothing to do it is invalid; filters of system calls say that there is none.
	if _, _, err := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0); err != unix.EINVAL {
		return fmt.Errorf("clone3: %w", err)
	}
	return nil
}

// Close moves this process back to where it came from, and removes the cage if nobody else is in it.
func (c *Cage) Close() {
	if c == nil {
		return
	}
	for _, pid := range cgroupfs.Members(c.leaf()) {
		_ = cgroupfs.Join(c.home, pid)
	}
	if err := cgroupfs.Remove(c.dir); err != nil {
		c.log.Warn("cgroups are left to the next start", "err", err)
		return
	}
	_ = os.Remove(c.record)
}

// cell makes the cgroup for the next life of a process. There is one already if not everything of the last
// life could be killed.
func (c *Cage) cell(name string) (*cell, error) {
	if c == nil {
		return nil, nil
	}
	dir := filepath.Join(c.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return &cell{c, dir, f}, nil
}

// cell is the cgroup of one life of a process; nil where there are none.
type cell struct {
	cage *Cage
	dir  string
	file *os.File // the open directory
}

// admit has a process begin in the cell: it is in there before it can fork.
func (c *cell) admit(attr *syscall.SysProcAttr) {
	if c != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(c.file.Fd())
	}
}

// members are the processes in the cell.
func (c *cell) members() []int {
	if c == nil {
		return nil
	}
	return cgroupfs.Inhabitants(c.dir)
}

// clear kills everything in the cell and removes it.
func (c *cell) clear() {
	if c == nil {
		return
	}
	c.file.Close()
	if err := clearTree(c.dir, c.cage.leaf()); err != nil {
		c.cage.log.Warn("a node's cgroup is left", "err", err)
	}
}

// Sweep clears the cage that a record tells of, if whoever had made it was killed. Without a record there is nothing to do.
func Sweep(record string) error {
	text, err := os.ReadFile(record)
	if err != nil {
		return nil
	}
	dir := string(text)
	if own, err := cgroupfs.Own(); err == nil && strings.HasPrefix(own+"/", dir+"/") {
		return fmt.Errorf("this process is in %s itself", dir)
	}
	// After a restart of the machine, say, there is nothing.
	if err := cgroupfs.Kills(dir); err == nil && strings.HasPrefix(filepath.Base(dir), cagePrefix) {
		if err := clearTree(dir, filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return os.Remove(record)
}

// clearTree kills everything in a cgroup and below, and removes it. What serves others too goes to the
// cgroup asylum.
func clearTree(dir, asylum string) error {
	for _, pid := range cgroupfs.Inhabitants(dir) {
		if p, ok := readProcEntry(pid); ok && p.shared() {
			_ = cgroupfs.Join(asylum, pid)
		}
	}
	if err := cgroupfs.Kill(dir); err != nil {
		return err
	}
	if err := cgroupfs.AwaitEmpty(dir, clearPatience); err != nil {
		return err
	}
	return cgroupfs.Remove(dir)
}
