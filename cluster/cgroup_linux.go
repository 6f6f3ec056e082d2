package cluster

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/charmbracelet/log"
	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/cgroup"
)

// cage is the cgroups (v2) of a supervisor, below the one that it was started in:
//
//	HOME                       is left as it was found
//	HOME/erlmcp-RANDOM         the cage; its path is in the state directory as long as it exists
//	…/supervisor               this process: in a tree that can have controllers, only leaves have processes
//	…/node-NAME                a cell: one life of a node, and whatever it starts
//
// It is no prison: a node that may write to HOME can leave. But nothing gets out by forking, by setsid or by
// emptying its environment.
type cage struct {
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

// contain makes a cage if that is wanted and possible; nil means process groups. Before, it clears the one
// that the last supervisor of the state directory has left, if that was killed. The caller is the only
// supervisor of the state directory.
func contain(want Containment, stateDir string, log *log.Logger) (*cage, error) {
	record := filepath.Join(stateDir, daemonName+".cgroup")
	if err := sweep(record); err != nil {
		log.Warn("cgroups of a killed supervisor are left", "err", err)
	}
	if want == ContainProcessGroup {
		return nil, nil
	}
	home, err := ownCgroup()
	if err == nil && want == ContainAuto && !delegated(home) {
		err = fmt.Errorf("%s is not delegated to this service", home)
	}
	var c *cage
	if err == nil {
		c, err = newCage(home, record, log)
	}
	switch {
	case err == nil:
		log.Info("nodes run in cgroups of their own", "below", c.dir)
	case want == ContainCgroup:
		return nil, &ContainmentError{err}
	default:
		log.Debug("nodes run in process groups", "no cgroups because", err)
	}
	return c, nil
}

// checkContainment reports cgroups that are asked for and cannot be had.
func checkContainment(want Containment) error {
	if want != ContainCgroup {
		return nil
	}
	home, err := ownCgroup()
	if err != nil {
		return &ContainmentError{err}
	}
	if filepath.Base(home) == supervisorLeaf { // this process is in a cage already
		return nil
	}
	if err := canClone(); err != nil {
		return &ContainmentError{err}
	}
	for _, path := range []string{home, filepath.Join(home, "cgroup.procs")} {
		if err := mayWrite(path, path == home); err != nil {
			return &ContainmentError{err}
		}
	}
	return nil
}

// newCage makes a cage and moves this process into it. When it fails, nothing is left of it.
func newCage(home, record string, log *log.Logger) (*cage, error) {
	if err := canClone(); err != nil {
		return nil, err
	}
	c := &cage{home, filepath.Join(home, cagePrefix+strings.ToLower(rand.Text())), record, log}
	err := os.WriteFile(record, []byte(c.dir), 0o600)
	if err == nil {
		err = os.MkdirAll(c.leaf(), 0o755)
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(c.dir, "cgroup.kill")) // since Linux 5.14
	}
	if err == nil {
		err = join(c.leaf(), 0)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *cage) leaf() string { return filepath.Join(c.dir, supervisorLeaf) }

// canClone reports why a process cannot be made in a cgroup.
func canClone() error {
	// With nothing to do it is invalid; filters of system calls say that there is none.
	if _, _, err := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0); err != unix.EINVAL {
		return fmt.Errorf("clone3: %w", err)
	}
	return nil
}

// close moves this process back to where it came from, and removes the cage if nobody else is in it.
func (c *cage) close() {
	if c == nil {
		return
	}
	for _, pid := range members(c.leaf()) {
		_ = join(c.home, pid)
	}
	if err := removeTree(c.dir); err != nil {
		c.log.Warn("cgroups are left to the next start", "err", err)
		return
	}
	_ = os.Remove(c.record)
}

// cell makes the cgroup for the next life of a node. There is one already if not everything of the last
// life could be killed.
func (c *cage) cell(node string) (*cell, error) {
	if c == nil {
		return nil, nil
	}
	dir := filepath.Join(c.dir, "node-"+node)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return &cell{c, dir, f}, nil
}

// cell is the cgroup of one life of a node; nil where there are none.
type cell struct {
	cage *cage
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
	return inhabitants(c.dir)
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

// sweep clears the cage that the record tells of.
func sweep(record string) error {
	text, err := os.ReadFile(record)
	if err != nil {
		return nil
	}
	dir := string(text)
	if own, err := ownCgroup(); err == nil && strings.HasPrefix(own+"/", dir+"/") {
		return fmt.Errorf("this process is in %s itself", dir)
	}
	// After a restart of the machine, say, there is nothing.
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err == nil && strings.HasPrefix(filepath.Base(dir), cagePrefix) {
		if err := clearTree(dir, filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return os.Remove(record)
}

// clearTree kills everything in a cgroup and below, and removes it. What serves others too goes to the
// cgroup asylum.
func clearTree(dir, asylum string) error {
	for _, pid := range inhabitants(dir) {
		if p, ok := readProcEntry(pid); ok && p.shared() {
			_ = join(asylum, pid)
		}
	}
	if err := write(filepath.Join(dir, "cgroup.kill"), "1"); err != nil {
		return err
	}
	if err := awaitEmpty(dir); err != nil {
		return err
	}
	return removeTree(dir)
}

// awaitEmpty returns when no process is in a cgroup or below.
func awaitEmpty(dir string) error {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return err
	}
	defer f.Close()
	deadline := time.Now().Add(clearPatience)
	for {
		var text [256]byte
		n, _ := f.ReadAt(text[:], 0)
		if bytes.Contains(text[:n], []byte("populated 0")) {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("processes in %s do not die: %v", dir, members(dir))
		}
		// The kernel reports a change since it was read.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}, int(left.Milliseconds())+1)
	}
}

// removeTree removes a cgroup and those below, unless processes are in them.
func removeTree(dir string) error {
	for _, child := range children(dir) {
		if err := removeTree(child); err != nil {
			return err
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// children are the cgroups right below one.
func children(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var found []string
	for _, e := range entries {
		if e.IsDir() {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found
}

// members are the processes in a cgroup, without those below.
func members(dir string) []int {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var pids []int
	for _, line := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(line); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// inhabitants are the processes in a cgroup and in those right below.
func inhabitants(dir string) (pids []int) {
	for _, group := range append(children(dir), dir) {
		pids = append(pids, members(group)...)
	}
	return pids
}

// join moves a process to a cgroup; 0 is this one.
func join(dir string, pid int) error {
	return write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// delegated reports whether the service manager has said that the cgroup is its processes' to divide, as
// systemd does since version 251 for units with Delegate=.
func delegated(dir string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		var value [8]byte
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// ownCgroup is the directory of the cgroup (v2) that this process is in.
func ownCgroup() (string, error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for _, dir := range unifiedDirs(string(mounts), unifiedPath(string(groups))) {
		// Namespaces, or another mount on top, can make it somebody else's.
		if slices.Contains(members(dir), os.Getpid()) {
			return dir, nil
		}
	}
	return "", errors.New("this process's cgroup (v2) cannot be seen here")
}

// unifiedPath is the cgroup in the hierarchy of v2, from a text like that of /proc/PID/cgroup; "" when
// there is none.
func unifiedPath(groups string) string {
	for line := range strings.Lines(groups) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return ""
}

// unifiedDirs is where a cgroup of the hierarchy of v2 can be seen, from a text like that of
// /proc/PID/mountinfo, whose lines are
//
//	ID PARENT MAJOR:MINOR ROOT DIRECTORY OPTIONS [OPTIONAL …] - TYPE SOURCE OPTIONS
//
// where ROOT is the cgroup that DIRECTORY shows: / or, with a bind mount, one below.
func unifiedDirs(mountinfo, path string) []string {
	var dirs []string
	for line := range strings.Lines(mountinfo) {
		where, what, _ := strings.Cut(line, " - ")
		fields := strings.Fields(where)
		if len(fields) < 6 || !strings.HasPrefix(what, "cgroup2 ") {
			continue
		}
		root, dir := strings.TrimSuffix(cgroup.Unescape(fields[3]), "/"), cgroup.Unescape(fields[4])
		// A path that begins with /.. is outside of what this namespace shows.
		if below, ok := strings.CutPrefix(path+"/", root+"/"); ok && path != "" && !strings.HasPrefix(path+"/", "/../") {
			dirs = append(dirs, filepath.Join(dir, below))
		}
	}
	return dirs
}
