package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/sockdiag"
	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// PortsError lists the ports that nodes cannot listen on.
type PortsError struct{ Conflicts []Conflict }

// Conflict is one port that cannot be had.
type Conflict struct {
	Node, Transport, Address string

	Err     error  // of listening
	PID     int    // who holds the port; 0 when that cannot be told
	Process string // its name
}

func (c Conflict) String() string {
	text := fmt.Sprintf("%s (%s of %s): ", c.Address, c.Transport, c.Node)
	switch {
	case c.PID != 0:
		return text + fmt.Sprintf("in use by %s (pid %d)", c.Process, c.PID)
	case errors.Is(c.Err, syscall.EADDRINUSE):
		return text + "in use"
	}
	var call syscall.Errno
	if errors.As(c.Err, &call) {
		return text + call.Error()
	}
	return text + c.Err.Error()
}

func (e *PortsError) Error() string {
	all := make([]string, len(e.Conflicts))
	for i, c := range e.Conflicts {
		all[i] = c.String()
	}
	return "cannot listen on " + strings.Join(all, ", ")
}

// Hint is the way out.
func (e *PortsError) Hint() string {
	for _, c := range e.Conflicts {
		if c.Process == "erlmcp" {
			return "another cluster runs, perhaps with another --state-dir: stop that one, or change cluster.nodes"
		}
	}
	return "free the ports or change cluster.nodes"
}

const portRetry = 50 * time.Millisecond

// checkPorts tries to listen on every port of nodes and returns a *[PortsError] with all that fail.
// Ports in use are tried again for as long as patience: whoever was killed a moment ago still holds
// its sockets.
func checkPorts(ctx context.Context, nodes []topology.Node, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		conflicts := portConflicts(ctx, nodes)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(conflicts) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return &PortsError{conflicts}
		}
		_ = tempo.Pause(ctx, portRetry) // an end is seen above
	}
}

func portConflicts(ctx context.Context, nodes []topology.Node) []Conflict {
	var found []Conflict
	for _, n := range nodes {
		for _, p := range n.Ports() {
			var config net.ListenConfig
			l, err := config.Listen(ctx, "tcp", p.Address)
			if err == nil {
				l.Close()
				continue
			}
			c := Conflict{Node: n.Name, Transport: p.Transport, Address: p.Address, Err: err}
			if at, ok := addressOf(err); ok && errors.Is(err, syscall.EADDRINUSE) {
				c.PID, c.Process, _ = sockdiag.Listener(at)
			}
			found = append(found, c)
		}
	}
	return found
}

// addressOf is the address that listening failed on, with its name resolved.
func addressOf(err error) (netip.AddrPort, bool) {
	var op *net.OpError
	if !errors.As(err, &op) {
		return netip.AddrPort{}, false
	}
	addr, ok := op.Addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	return addr.AddrPort(), true
}
