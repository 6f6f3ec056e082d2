package cluster

import "path/filepath"

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
