package node

import (
	"fmt"
	"strings"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/internal/units"
)

// Spec says what one node is to do.
type Spec struct {
	Node topology.Node `json:"node"`

	// MaxConnections is how many clients may be connected over TCP, and how many sessions there may be over Streamable HTTP.
	// Connections over HTTP are as many as the limit of open files allows one process.
	MaxConnections int `json:"max_connections"`

	// MaxMessage is the length of the longest message, over any transport.
	MaxMessage units.Bytes `json:"max_message"`

	// Version is the program's own, told to clients.
	Version string `json:"version"`
}

// Default is the first of the default nodes with room for its share of 100,000 connections and of those
// of a node that failed.
func Default() Spec {
	return Spec{Node: topology.Default(1)[0], MaxConnections: 35_000, MaxMessage: 16 * units.MiB}
}

// Validate reports the first thing wrong. Errors begin with the name of the field: "tcp: …".
func (s Spec) Validate() error {
	if err := topology.ValidateEmbedded([]topology.Node{s.Node}); err != nil {
		return &SpecError{strings.TrimPrefix(err.Error(), "[0].")}
	}
	if s.MaxConnections < 1 {
		return &SpecError{fmt.Sprintf("max-connections: %d is not at least 1", s.MaxConnections)}
	}
	if s.MaxMessage < units.KiB || s.MaxMessage > 256*units.MiB {
		return &SpecError{fmt.Sprintf("max-message: %v is not within 1KiB..256MiB", s.MaxMessage)}
	}
	return nil
}

// SpecError says what is wrong with a Spec.
type SpecError struct{ text string }

func (e *SpecError) Error() string { return e.text }
