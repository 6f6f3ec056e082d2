package config

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

// errNoNodes says that a file of nodes, which may have been cut off, has none.
var errNoNodes = errors.New("lists no node")

// DecodeNodes reads a file of nodes (lb.nodes_from): a list as lb.nodes, in YAML or JSON. The nodes are complete
// and valid; there is at least one. Errors are as those of Load.
func DecodeNodes(name string, text []byte) ([]topology.Node, error) {
	var p problems
	document := readDocument(name, text, &p)
	if err := p.err(); err != nil {
		return nil, err
	}
	if document == nil {
		return nil, &Error{Origin: Origin{Name: name}, Text: errNoNodes.Error()}
	}
	var nodes []topology.Node
	d := &decoder{name: name, origins: make(map[string]Origin), problems: &p}
	d.list(document.Content[0], reflect.ValueOf(&nodes).Elem(), "")
	if err := p.err(); err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, &Error{Origin: Origin{Name: name}, Text: errNoNodes.Error()}
	}
	nodes = topology.Complete(nodes)
	if err := topology.Validate(nodes); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return nodes, nil
}

// AllNodes are those the balancer has: c.LB.Nodes, and those of the file lb.nodes_from. The error is about the
// file; there are those of c.LB.Nodes then.
func (c *Config) AllNodes() ([]topology.Node, error) {
	if c.LB.NodesFrom == "" {
		return c.LB.Nodes, nil
	}
	text, err := proxy.ReadNodes(c.LB.NodesFrom)
	if err != nil {
		return c.LB.Nodes, err
	}
	nodes, err := DecodeNodes(c.LB.NodesFrom, text)
	if err != nil {
		return c.LB.Nodes, err
	}
	all, err := c.LB.WithNodes(c.LB.NodesFrom, nodes)
	if err != nil {
		return c.LB.Nodes, err
	}
	return all.Nodes, nil
}
