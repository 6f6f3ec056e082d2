//go:build !linux

package cluster

import "errors"

// checkContainment reports cgroups that are asked for.
func checkContainment(want Containment) error {
	if want == ContainCgroup {
		return &ContainmentError{errors.New("only Linux has them")}
	}
	return nil
}
