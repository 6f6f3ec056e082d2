package cgroupfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/cgroup"
)

// Own is the directory of the cgroup (v2) that this process is in.
func Own() (string, error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for _, dir := range unifiedDirs(string(mounts), PathOf(string(groups))) {
		// Namespaces, or another mount on top, can make it somebody else's.
		if slices.Contains(Members(dir), os.Getpid()) {
			return dir, nil
		}
	}
	return "", errors.New("this process's cgroup (v2) cannot be seen here")
}

// PathOf is the cgroup in the hierarchy of v2, from a text like that of /proc/PID/cgroup; "" when
// there is none.
func PathOf(groups string) string {
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

// Delegated reports whether the service manager has said that the cgroup is its processes' to divide, as
// systemd does since version 251 for units with Delegate=.
func Delegated(dir string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		var value [8]byte
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// Children are the cgroups right below one.
func Children(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var found []string
	for _, e := range entries {
		if e.IsDir() {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found
}

// Members are the processes in a cgroup, without those below.
func Members(dir string) []int {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var pids []int
	for _, line := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(line); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Inhabitants are the processes in a cgroup and in those right below.
func Inhabitants(dir string) (pids []int) {
	for _, group := range append(Children(dir), dir) {
		pids = append(pids, Members(group)...)
	}
	return pids
}

// Join moves a process to a cgroup; 0 is this one.
func Join(dir string, pid int) error {
	return write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
}

const kill = "cgroup.kill"

// Kill kills everything in a cgroup and below, since Linux 5.14; see [Kills].
func Kill(dir string) error { return write(filepath.Join(dir, kill), "1") }

// Kills reports why Kill cannot be had.
func Kills(dir string) error {
	_, err := os.Stat(filepath.Join(dir, kill))
	return err
}

// AwaitEmpty returns when no process is in a cgroup or below. It is an error that there are some after patience.
func AwaitEmpty(dir string, patience time.Duration) error {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return err
	}
	defer f.Close()
	deadline := time.Now().Add(patience)
	for {
		var text [256]byte
		n, _ := f.ReadAt(text[:], 0)
		if bytes.Contains(text[:n], []byte("populated 0")) {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("processes in %s do not die: %v", dir, Members(dir))
		}
		// The kernel reports a change since it was read.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}, int(left.Milliseconds())+1)
	}
}

// Remove removes a cgroup and those below, unless processes are in them.
func Remove(dir string) error {
	for _, child := range Children(dir) {
		if err := Remove(child); err != nil {
			return err
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
