package healthcheck

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Misfits asks each node over each of its transports for MCP and says where something else is found than is
// configured: another protocol, or the endpoint at another path. Nodes that do not answer are no misfits: they
// may not run yet.
func (c *Collector) Misfits(ctx context.Context) []string {
	asking := *c
	asking.Spec.Kinds = []string{"mcp"}
	found := make([][]string, len(c.Nodes))
	var wg sync.WaitGroup
	for i, n := range c.Nodes {
		wg.Go(func() {
			for _, check := range asking.nodeChecks(n) {
				r := probeMCP(ctx, check.Target)
				text := Advise(ctx, check.Target, r)
				if r.Cause == CauseProtocol {
					text = r.Error
				}
				if text != "" {
					found[i] = append(found[i], fmt.Sprintf("node %s, %s %s: %s", n.Name, check.Target.Transport, check.Target.Address, text))
				}
			}
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}
