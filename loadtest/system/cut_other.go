//go:build !linux

package system

import (
	"context"
	"errors"
	"net/netip"
)

// cut is nothing here.
type cut struct{}

var errNoCut = errors.New("packets can be dropped on Linux only")

func cutOff(context.Context, []netip.AddrPort) (*cut, error) { return nil, errNoCut }

func (*cut) mend(context.Context) error { return errNoCut }

func CannotCut(context.Context) error { return errNoCut }
