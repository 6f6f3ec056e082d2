package cluster

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tasksLimit is how many processes and threads there may be here, and which file says so. There may be no limit.
func tasksLimit() (most int, where string, limited bool) {
	dir, err := ownCgroup()
	if err != nil {
		return 0, "", false
	}
	for ; strings.HasPrefix(dir, "/sys/"); dir = filepath.Dir(dir) { // each limits those below it
		file := filepath.Join(dir, "pids.max")
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && (!limited || n < most) {
			most, where, limited = n, file, true
		}
	}
	return most, where, limited
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
