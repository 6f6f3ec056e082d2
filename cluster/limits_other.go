//go:build !linux

package cluster

import "errors"

// tasksLimit tells of no limit.
func tasksLimit() (most int, where string, limited bool) { return 0, "", false }

// checkContainment reports cgroups that are asked for.
func checkContainment(want Containment) error {
	if want == ContainCgroup {
		return &ContainmentError{errors.New("only Linux has them")}
	}
	return nil
}
