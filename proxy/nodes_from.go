package proxy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// maxNodeFile bounds a file of nodes, in bytes.
const maxNodeFile = 1 << 20

// ReadNodes reads the text of a file of nodes (Spec.NodesFrom).
func ReadNodes(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err == nil {
		defer func() { _ = file.Close() }()
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(file, maxNodeFile+1)); err == nil {
			return text, nil // whoever decodes it sees that it is too long
		}
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}

// WithNodes is a valid s with further nodes, of a file, if that is valid too.
func (s Spec) WithNodes(file string, nodes []topology.Node) (Spec, error) {
	s.Nodes = slices.Concat(s.Nodes, nodes)
	if err := s.Validate(); err != nil {
		return s, fmt.Errorf("%s, together with lb.nodes: %w", file, err)
	}
	return s, nil
}
