package cluster

import (
	"io"
	"slices"
	"sync"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// links are the connections between the nodes of a fakeMesh, from a node's name to a peer's.
type links struct {
	mu      sync.Mutex
	known   map[string][]string
	refused [2]string // a pair that cannot be connected
	silent  string    // a node that does not answer
}

func newLinks() *links { return &links{known: map[string][]string{}} }

func (l *links) of(n topology.Node) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.Name == l.silent {
		return nil, io.ErrUnexpectedEOF
	}
	return slices.Clone(l.known[n.Name]), nil
}

func (l *links) add(n topology.Node, peer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused != [2]string{n.Name, peer} && !slices.Contains(l.known[n.Name], peer) {
		l.known[n.Name] = append(l.known[n.Name], peer)
	}
	slices.Sort(l.known[n.Name])
}

func (l *links) cut(node, peer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[node] = slices.DeleteFunc(l.known[node], func(name string) bool { return name == peer })
}

// refuse cuts a pair for as long as it is the refused one.
func (l *links) refuse(node, peer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = [2]string{node, peer}
	l.known[node] = slices.DeleteFunc(l.known[node], func(name string) bool { return name == peer })
}

func (l *links) silence(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = node
}
