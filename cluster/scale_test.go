package cluster

import (
	"errors"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
)

func TestScaling(t *testing.T) {
	all := testSpec(t, 4)
	spec := all
	spec.Nodes = all.Nodes[:2]
	dir := shortDir(t)
	c := supervise(t, spec, SupervisorOptions{StateDir: dir})
	if now, err := c.Spec(t.Context()); err != nil || now.Resized {
		t.Errorf("at first the specification is %+v, %v", now, err)
	}
	if err := c.AddNodes(t.Context(), all.Nodes[2:]); err != nil {
		t.Fatal(err)
	}
	s, err := c.Status(t.Context())
	if err != nil || len(s.Nodes) != 4 || !s.Healthy() || !answers(all.Nodes[3].TCPAddress()) {
		t.Errorf("status is %+v, %v", s, err)
	}
	if now, err := c.Spec(t.Context()); err != nil || !now.Resized || strings.Join(topology.Names(now.Nodes), " ") != "erlmcp1 erlmcp2 erlmcp3 erlmcp4" {
		t.Errorf("specification is %+v, %v", now, err)
	}
	if err := c.RestartNodes(t.Context(), []string{"erlmcp4"}); err != nil {
		t.Error(err)
	}

	if err := c.RemoveNodes(t.Context(), []string{"erlmcp1", "erlmcp3"}); err != nil {
		t.Fatal(err)
	}
	s, err = c.Status(t.Context())
	if err != nil || len(s.Nodes) != 2 || s.Nodes[0].Name != "erlmcp2" || s.Nodes[1].Name != "erlmcp4" || !s.Healthy() {
		t.Errorf("status is %+v, %v", s, err)
	}
	for _, i := range []int{0, 2} {
		if answers(all.Nodes[i].TCPAddress()) {
			t.Errorf("%s outlives its removal", all.Nodes[i].Name)
		}
	}
	var last Event
	if err := c.Events(t.Context(), false, func(e Event) error { last = e; return nil }); err != nil || last.Node != "erlmcp1" || last.Reason != "removed" || last.State != "" {
		t.Errorf("last event is %+v, %v", last, err)
	}
	// What was removed can come back.
	if err := c.AddNodes(t.Context(), all.Nodes[:1]); err != nil {
		t.Error(err)
	}

	for want, ask := range map[string]func() error{
		"the last node cannot be removed":                       func() error { return c.RemoveNodes(t.Context(), []string{"erlmcp1", "erlmcp2", "erlmcp4"}) },
		"name the nodes to remove":                              func() error { return c.RemoveNodes(t.Context(), nil) },
		`unknown node "erlmcp3"`:                                func() error { return c.RemoveNodes(t.Context(), []string{"erlmcp3"}) },
		`cluster.nodes[3].name: "erlmcp2" is already the name `: func() error { return c.AddNodes(t.Context(), all.Nodes[1:2]) },
	} {
		var refused *control.Error
		if err := ask(); !errors.As(err, &refused) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestNodeThatCannotBeAdded(t *testing.T) {
	all := testSpec(t, 3)
	spec := all
	spec.Nodes = all.Nodes[:1]
	t.Setenv(behaviourEnv, "erlmcp3=crash")
	c := supervise(t, spec, SupervisorOptions{})
	err := c.AddNodes(t.Context(), all.Nodes[1:])
	if err == nil || !strings.HasPrefix(err.Error(), "node erlmcp3 failed to start: it exited with status 3") {
		t.Errorf("got %v", err)
	}
	if s, err := c.Status(t.Context()); err != nil || len(s.Nodes) != 1 || !s.Healthy() || answers(all.Nodes[1].TCPAddress()) {
		t.Errorf("status is %+v, %v", s, err)
	}
}
