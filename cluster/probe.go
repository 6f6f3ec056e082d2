package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// probeNode asks for an MCP reply on the first port of n, and for a connection on the others.
func probeNode(ctx context.Context, n topology.Node) error { return probePorts(ctx, n, "mcp", "tcp") }

// probePorts makes one kind of check at the first port of n, another one at the others, and tells of those
// that fail and of those that do not.
func probePorts(ctx context.Context, n topology.Node, first, others string) error {
	var failed []error
	var served []string
	for i, p := range n.Ports() {
		kind := first
		if i > 0 {
			kind = others
		}
		probe, err := healthcheck.Lookup(kind)
		if err != nil {
			return err
		}
		target := healthcheck.Target{Address: p.Address, Transport: p.Transport, Path: n.MCPPath()}
		if n.TLS() && p.Transport != healthcheck.OverTCP {
			// Whether it serves is asked, not who it is: this side has started it.
			target.TLS = &tls.Config{InsecureSkipVerify: true, ServerName: n.Host} //nolint:gosec // see above
		}
		switch r := probe(ctx, target); {
		case r.OK:
			served = append(served, p.Transport)
		case r.Cause == healthcheck.CauseRefused:
			failed = append(failed, fmt.Errorf("%s: nothing listens on %s", p.Transport, p.Address))
		default:
			failed = append(failed, fmt.Errorf("%s: %s", p.Transport, r.Error))
		}
	}
	if len(failed) > 0 && len(served) > 0 {
		failed = append(failed, fmt.Errorf("it serves %s: leave out of cluster.nodes what it does not", strings.Join(served, ", ")))
	}
	return oneLine(failed)
}

// oneLine is several errors as one, on one line; nil for none.
func oneLine(list []error) error {
	if len(list) == 0 {
		return nil
	}
	texts := make([]string, len(list))
	for i, err := range list {
		texts[i] = err.Error()
	}
	return errors.New(strings.Join(texts, "; "))
}
