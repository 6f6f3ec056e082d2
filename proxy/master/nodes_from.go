package master

import (
	"bytes"
	"time"

	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
)

// nodeFile is what is known of the file of nodes. The zero nodeFile is for no file.
type nodeFile struct {
	name  string
	text  []byte          // when it was last read
	nodes []topology.Node // of the last time that it was good
	err   error           // what is wrong with it now
}

// read returns f after reading the file called name. Nodes of another file are not kept.
func (f nodeFile) read(name string, decode func(string, []byte) ([]topology.Node, error)) nodeFile {
	if name == "" {
		return nodeFile{}
	}
	if f.name != name {
		f = nodeFile{name: name}
	}
	text, err := proxy.ReadNodes(name)
	return f.take(text, err, decode)
}

// take returns f after a reading that gave text or err.
func (f nodeFile) take(text []byte, err error, decode func(string, []byte) ([]topology.Node, error)) nodeFile {
	f.text, f.err = text, err
	if err != nil {
		return f
	}
	if nodes, err := decode(f.name, text); err != nil {
		f.err = err
	} else {
		f.nodes = nodes
	}
	return f
}

// stats is nil without a file.
func (f *nodeFile) stats() *proxy.NodeFileStats {
	if f.name == "" {
		return nil
	}
	return &proxy.NodeFileStats{File: f.name, Nodes: len(f.nodes), Error: reason(f.err)}
}

// complainOf logs what is wrong with the file, unless that was so before.
func (m *master) complainOf(f, before nodeFile) {
	if f.err != nil && (before.err == nil || before.err.Error() != f.err.Error()) {
		m.log.Error("the file of nodes is not taken, nodes stay as they are", "err", f.err)
	}
}

// nodeFileLook is how often the file of nodes is read. What is seen twice is taken: before, it may be half
// written.
const nodeFileLook = time.Second

// watchNodeFile has nodes come and go with the file of nodes, until serving ends.
func (m *master) watchNodeFile() {
	var seen []byte
	for range tempo.Every(m.serving, nodeFileLook) {
		seen = m.lookAtNodeFile(seen)
	}
}

// lookAtNodeFile takes over the file if it is another one than the one in force and as it was when it was last
// seen. It returns what it has seen.
func (m *master) lookAtNodeFile(seen []byte) []byte {
	name := m.inForce.Load().spec.NodesFrom
	if name == "" {
		return nil
	}
	text, err := proxy.ReadNodes(name)
	if err == nil && !bytes.Equal(text, seen) {
		return text
	}
	m.reloading.Lock()
	defer m.reloading.Unlock()
	now := m.inForce.Load()
	if m.draining() || now.file.name != name || err == nil && now.file.text != nil && bytes.Equal(text, now.file.text) {
		return text
	}
	file := now.file.take(text, err, m.o.DecodeNodes)
	if file.err == nil {
		if file.err = m.adoptFile(now, file); file.err == nil {
			return text
		}
		file.nodes, file.text = now.file.nodes, nil // it may do later
	}
	m.complainOf(file, now.file)
	next := *now
	next.file = file
	m.inForce.Store(&next)
	return text
}

// adoptFile puts another file of nodes into force.
func (m *master) adoptFile(now *effective, file nodeFile) (err error) {
	next := *now
	next.file = file
	if next.spec, err = now.configured().WithNodes(file.name, file.nodes); err != nil {
		return err
	}
	m.names.learn(m.ask(m.serving, &next.spec))
	if _, err = m.adopt(&next); err != nil {
		return err
	}
	m.log.Info("nodes of the file", "file", file.name, "nodes", topology.Names(file.nodes))
	return nil
}
