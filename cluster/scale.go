package cluster

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// AddNodes adds nodes to the running cluster and returns when they are ready. When one fails, none is
// added.
func (c *Client) AddNodes(ctx context.Context, nodes []topology.Node) error {
	return c.long(ctx, "/v1/add", addRequest{nodes})
}

// RemoveNodes stops nodes and takes them out of the running cluster. One must stay.
func (c *Client) RemoveNodes(ctx context.Context, names []string) error {
	return c.long(ctx, "/v1/remove", nodesRequest{names})
}

type addRequest struct {
	Nodes []topology.Node `json:"nodes"`
}

// refusal is an error of whoever asked.
func refusal(err error) error {
	return &control.Error{Status: http.StatusBadRequest, Message: err.Error(), Exit: 2}
}

// add makes machines for nodes and starts them.
func (s *supervisor) add(ctx context.Context, nodes []topology.Node) error {
	s.scaling.Lock()
	defer s.scaling.Unlock()
	spec := s.currentSpec()
	spec.Nodes = slices.Concat(spec.Nodes, nodes)
	if err := spec.Validate(); err != nil {
		return refusal(err)
	}
	for i, n := range nodes {
		if err := s.adopt(n); err != nil {
			return errors.Join(err, s.drop(nodes[:i]))
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	if err := s.start(ctx, topology.Names(nodes)); err != nil {
		return errors.Join(err, s.drop(nodes))
	}
	return nil
}

// adopt makes the machine of a node, which is stopped as yet.
func (s *supervisor) adopt(n topology.Node) error {
	m, err := s.newMachine(n)
	if err != nil {
		return err
	}
	var ctx context.Context
	ctx, m.forget = context.WithCancel(s.life)
	go m.run(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machines = append(s.machines, m)
	return nil
}

// drop ends the machines of nodes, and what runs of them.
func (s *supervisor) drop(nodes []topology.Node) error {
	if len(nodes) == 0 {
		return nil
	}
	picked, err := s.pick(topology.Names(nodes))
	if err != nil {
		return err
	}
	_ = stopAll(context.Background(), picked)
	for _, m := range slices.Backward(picked) {
		m.forget()
		<-m.over
		m.output.Close()
		s.mu.Lock()
		s.machines = slices.DeleteFunc(s.machines, func(other *machine) bool { return other == m })
		s.mu.Unlock()
		s.register.remove(m.node.Name)
	}
	return nil
}

// remove stops nodes and forgets them.
func (s *supervisor) remove(_ context.Context, names []string) error {
	s.scaling.Lock()
	defer s.scaling.Unlock()
	if len(names) == 0 {
		return refusal(errors.New("name the nodes to remove"))
	}
	nodes := s.currentSpec().Nodes
	gone, err := pick(nodes, names)
	if err != nil {
		return err
	}
	if len(gone) == len(nodes) {
		return &control.Error{
			Status: http.StatusConflict, Message: "the last node cannot be removed", Advice: "erlmcp cluster stop",
		}
	}
	return s.drop(gone)
}

// all are the machines of this moment, in the order of the cluster.
func (s *supervisor) all() []*machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.machines)
}

// currentSpec is what the cluster was started with, and the nodes it has now.
func (s *supervisor) currentSpec() Spec {
	spec := s.spec
	spec.Nodes = nil
	for _, m := range s.all() {
		spec.Nodes = append(spec.Nodes, m.node)
	}
	spec.Resized = spec.Resized || !slices.Equal(spec.Nodes, s.spec.Nodes)
	return spec
}
