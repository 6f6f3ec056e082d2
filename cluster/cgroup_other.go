//go:build !linux

package cluster

import (
	"errors"
	"syscall"

	"github.com/charmbracelet/log"
)

// cage and cell are always nil: only Linux has cgroups.
type (
	cage struct{}
	cell struct{}
)

func contain(want Containment, _ string, _ *log.Logger) (*cage, error) {
	return nil, checkContainment(want)
}

// checkContainment reports cgroups that are asked for.
func checkContainment(want Containment) error {
	if want == ContainCgroup {
		return &ContainmentError{errors.New("only Linux has them")}
	}
	return nil
}

func (*cage) close()                     {}
func (*cage) cell(string) (*cell, error) { return nil, nil }
func (*cell) admit(*syscall.SysProcAttr) {}
func (*cell) clear()                     {}
