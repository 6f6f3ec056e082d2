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
	if want == ContainCgroup {
		return nil, &ContainmentError{errors.New("only Linux has them")}
	}
	return nil, nil
}

func (*cage) close()                     {}
func (*cage) cell(string) (*cell, error) { return nil, nil }
func (*cell) admit(*syscall.SysProcAttr) {}
func (*cell) clear()                     {}
