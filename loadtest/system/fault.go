package system

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
)

// Fault is what a failover test does to a node, or to all of them in turn.
type Fault string

// The faults.
const (
	FaultAuto    Fault = ""        // FaultKill when the cluster can be controlled, else FaultNone
	FaultKill    Fault = "kill"    // SIGKILL: the kernel resets its connections
	FaultFreeze  Fault = "freeze"  // SIGSTOP: its connections stay open and silent
	FaultCut     Fault = "cut"     // the network takes every packet to and from it
	FaultDrain   Fault = "drain"   // an operator takes it out of service: no new clients, then it is stopped
	FaultRolling Fault = "rolling" // an operator restarts all nodes, drained, one after the other
	FaultNone    Fault = "none"
)

// Faults are those that can be asked for.
var Faults = []Fault{FaultAuto, FaultKill, FaultFreeze, FaultCut, FaultDrain, FaultRolling, FaultNone}

// Ordered reports whether the fault is an order of an operator, which must lose nothing.
func (f Fault) Ordered() bool { return f == FaultDrain || f == FaultRolling }

// Silent reports whether nothing tells the other side.
func (f Fault) Silent() bool { return f == FaultFreeze || f == FaultCut }

// Orders are those of an operator that faults consist of.
type Orders interface {
	// StopDrained stops nodes that get no new clients before, and returns when they have ended. Clients that are still
	// there after a while are cut off.
	StopDrained(ctx context.Context, nodes []string, atMost time.Duration) error
	// Roll restarts nodes so, all without names, one after the other.
	Roll(ctx context.Context, nodes []string, atMost time.Duration) error
}

// drainTimeout is how long clients that are drained may stay: those of TCP stay until they are cut off.
const drainTimeout = 3 * time.Second

// Break implements System.
func (l *live) Break(ctx context.Context, node string, f Fault) error {
	switch f {
	case FaultFreeze:
		return l.cluster.Kill(ctx, node, cluster.SignalStop, false)
	case FaultCut:
		at, err := l.addresses(ctx, node)
		if err != nil {
			return err
		}
		l.cut, err = cutOff(ctx, at)
		return err
	case FaultDrain:
		return l.orders.StopDrained(ctx, []string{node}, drainTimeout)
	case FaultRolling:
		return l.orders.Roll(ctx, nil, drainTimeout)
	}
	return l.cluster.Kill(ctx, node, cluster.SignalKill, true)
}

// Mend implements System.
func (l *live) Mend(ctx context.Context, node string, f Fault) error {
	switch f {
	case FaultFreeze:
		return l.cluster.Kill(ctx, node, cluster.SignalCont, false)
	case FaultCut:
		c := l.cut
		l.cut = nil
		return c.mend(ctx)
	case FaultRolling:
		return nil
	}
	return l.cluster.StartNodes(ctx, []string{node})
}

// addresses are where a node serves.
func (l *live) addresses(ctx context.Context, node string) (list []netip.AddrPort, err error) {
	s, err := l.cluster.Status(ctx)
	if err != nil {
		return nil, err
	}
	if s, err = s.Only([]string{node}); err != nil {
		return nil, err
	}
	for _, text := range []string{s.Nodes[0].TCP, s.Nodes[0].HTTP, s.Nodes[0].SSE} {
		if text == "" {
			continue
		}
		at, err := Resolve(ctx, text)
		if err != nil {
			return nil, fmt.Errorf("address of %s: %w", node, err)
		}
		list = append(list, at)
	}
	return list, nil
}
