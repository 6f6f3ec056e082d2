package cluster

import (
	"context"
	"fmt"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// probeNode asks for an MCP reply on the TCP transport and for a connection on the others.
func probeNode(ctx context.Context, n topology.Node) error {
	for _, p := range n.Ports() {
		kind := "tcp"
		if p.Transport == "tcp" {
			kind = "mcp"
		}
		if err := probePort(ctx, kind, p); err != nil {
			return err
		}
	}
	return nil
}

func probePort(ctx context.Context, kind string, p topology.Port) error {
	probe, err := healthcheck.Lookup(kind)
	if err != nil {
		return err
	}
	if r := probe(ctx, healthcheck.Target{Address: p.Address}); !r.OK {
		return fmt.Errorf("%s: %s", p.Transport, r.Error)
	}
	return nil
}
