package healthcheck

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Cluster is what the supervisor of the nodes says.
type Cluster struct {
	State       string        `json:"state"` // "starting", "running" or "stopping"
	PID         int           `json:"pid,omitempty"`
	Partitioned bool          `json:"partitioned"` // some node that serves does not see another that does
	Nodes       []ClusterNode `json:"nodes"`
	Error       string        `json:"error,omitempty"` // why not more is known
}

// ClusterNode is a node as its supervisor has it.
type ClusterNode struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"`
	Restarts int       `json:"restarts"` // that nobody asked for
	Reason   string    `json:"reason,omitempty"`
	Serves   bool      `json:"serves"`
	Sees     []string  `json:"sees,omitempty"`    // nodes it is connected to, where nodes know each other
	Missing  []string  `json:"missing,omitempty"` // nodes that serve and that it does not see
	Mesh     bool      `json:"mesh"`              // nodes know each other
	Silent   bool      `json:"silent,omitempty"`  // it does not tell whom it sees
}

// settle works out who misses whom. Nodes come and go, so the cluster is partitioned only when the
// supervisor, which looks several times, doubts the node as well.
func (c *Cluster) settle() {
	c.Partitioned = false
	for i := range c.Nodes {
		n := &c.Nodes[i]
		n.Missing = nil
		if !n.Mesh || n.Silent || !n.Serves {
			continue
		}
		for _, other := range c.Nodes {
			if other.Name != n.Name && other.Serves && other.Mesh && !slices.Contains(n.Sees, other.Name) {
				n.Missing = append(n.Missing, other.Name)
				c.Partitioned = c.Partitioned || n.State != "ready"
			}
		}
	}
}

// clusterReasons are what the supervisor knows and no check can see.
func clusterReasons(c *Cluster) []string {
	if c == nil {
		return nil
	}
	if c.Error != "" {
		return []string{"the supervisor does not tell the state of the nodes: " + c.Error}
	}
	var reasons []string
	for _, n := range c.Nodes {
		switch {
		case len(n.Missing) > 0 && n.State != "ready":
			reasons = append(reasons, fmt.Sprintf("%s does not see %s: the cluster is partitioned", n.Name, strings.Join(n.Missing, ", ")))
		case n.State == "degraded" || n.State == "crashloop":
			text := fmt.Sprintf("the supervisor has %s in state %s", n.Name, n.State)
			if n.Reason != "" {
				text += ": " + n.Reason
			}
			reasons = append(reasons, text)
		}
	}
	return reasons
}
