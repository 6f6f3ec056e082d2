package healthcheck

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// mesh is a cluster of three nodes of which each sees all others.
func mesh() *Cluster {
	return &Cluster{State: "running", Nodes: []ClusterNode{
		{Name: "erlmcp1", State: "ready", Serves: true, Mesh: true, Sees: []string{"erlmcp2", "erlmcp3"}},
		{Name: "erlmcp2", State: "ready", Serves: true, Mesh: true, Sees: []string{"erlmcp1", "erlmcp3"}},
		{Name: "erlmcp3", State: "ready", Serves: true, Mesh: true, Sees: []string{"erlmcp1", "erlmcp2"}},
	}}
}

func TestCluster(t *testing.T) {
	for _, c := range []struct {
		name        string
		change      func(*Cluster)
		partitioned bool
		reasons     []string
	}{
		{"whole", func(*Cluster) {}, false, nil},
		{"no distribution", func(c *Cluster) {
			for i := range c.Nodes {
				c.Nodes[i].Mesh, c.Nodes[i].Sees = false, nil
			}
		}, false, nil},
		{"parted", func(c *Cluster) {
			c.Nodes[0].Sees, c.Nodes[0].State = []string{"erlmcp2"}, "degraded"
			c.Nodes[2].Sees, c.Nodes[2].State = []string{"erlmcp2"}, "degraded"
		}, true, []string{
			"erlmcp1 does not see erlmcp3: the cluster is partitioned",
			"erlmcp3 does not see erlmcp1: the cluster is partitioned",
		}},
		{"one does not tell", func(c *Cluster) {
			c.Nodes[0].Sees, c.Nodes[0].Silent, c.Nodes[0].State, c.Nodes[0].Reason = nil, true, "degraded", "no answer"
		}, false, []string{"the supervisor has erlmcp1 in state degraded: no answer"}},
		{"one does not tell and is missed", func(c *Cluster) {
			c.Nodes[0].Sees, c.Nodes[0].Silent, c.Nodes[0].State, c.Nodes[0].Reason = nil, true, "degraded", "no answer"
			c.Nodes[1].Sees, c.Nodes[1].State = []string{"erlmcp3"}, "degraded"
		}, true, []string{
			"the supervisor has erlmcp1 in state degraded: no answer", "erlmcp2 does not see erlmcp1: the cluster is partitioned",
		}},
		{"not yet introduced", func(c *Cluster) { c.Nodes[0].Sees = nil }, false, nil},
		{"one is down", func(c *Cluster) {
			c.Nodes[2] = ClusterNode{Name: "erlmcp3", State: "backoff"}
			c.Nodes[0].Sees, c.Nodes[1].Sees = []string{"erlmcp2"}, []string{"erlmcp1"}
		}, false, nil},
		{"crashes", func(c *Cluster) {
			c.Nodes[2] = ClusterNode{Name: "erlmcp3", State: "crashloop", Reason: "exit code 1"}
		}, false, []string{"the supervisor has erlmcp3 in state crashloop: exit code 1"}},
		{"silent", func(c *Cluster) { c.Error = "no answer" }, false,
			[]string{"the supervisor does not tell the state of the nodes: no answer"}},
	} {
		cluster := mesh()
		c.change(cluster)
		cluster.settle()
		if got := clusterReasons(cluster); !slices.Equal(got, c.reasons) || cluster.Partitioned != c.partitioned {
			t.Errorf("%s: partitioned %t, reasons %q", c.name, cluster.Partitioned, got)
		}
	}
}

func TestPartitionDegrades(t *testing.T) {
	f := serving()
	f.cluster = mesh()
	f.cluster.Nodes[0].Sees, f.cluster.Nodes[0].State = nil, "degraded"
	f.cluster.settle()
	r := f.report()
	if r.Status != StatusDegraded || !r.Cluster.Partitioned || len(r.Reasons) != 1 {
		t.Errorf("%s %q", r.Status, r.Reasons)
	}
}

func TestAskCluster(t *testing.T) {
	c := Collector{Spec: quick()}
	if c.askCluster(t.Context()) != nil {
		t.Error("a cluster nobody can be asked about")
	}
	c.Cluster = func(context.Context) (*Cluster, error) { return nil, errors.New("no answer") }
	if got := c.askCluster(t.Context()); got == nil || got.Error != "no answer" {
		t.Errorf("%+v", got)
	}
	c.Cluster = func(ctx context.Context) (*Cluster, error) { <-ctx.Done(); return nil, ctx.Err() }
	if got := c.askCluster(t.Context()); got == nil || !strings.Contains(got.Error, "deadline") {
		t.Errorf("%+v", got)
	}
}
