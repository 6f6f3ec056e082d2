//go:build !linux

package process

import (
	"errors"
	"syscall"

	"github.com/charmbracelet/log"
)

// Cage and cell are always nil: only Linux has cgroups.
type (
	Cage struct{}
	cell struct{}
)

// Sweep does nothing: nobody has left a cage.
func Sweep(string) error { return nil }

var errNoCgroups = errors.New("only Linux has them")

// CheckCage reports that there cannot be a cage.
func CheckCage() error { return errNoCgroups }

// NewCage makes no cage.
func NewCage(string, bool, *log.Logger) (*Cage, error) { return nil, errNoCgroups }

// Dir is the cage's cgroup.
func (*Cage) Dir() string { return "" }

// Close does nothing.
func (*Cage) Close() {}

func (*Cage) cell(string) (*cell, error) { return nil, nil }
func (*cell) admit(*syscall.SysProcAttr) {}
func (*cell) clear()                     {}
