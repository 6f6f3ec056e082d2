// Package tools is what a node offers to its clients: echo, add, whoami and sleep, the same over every
// transport.
package tools

import (
	"encoding/json"
	"fmt"
	"time"
)

// MaxSleep is the longest sleep a client can ask for.
const MaxSleep = time.Minute

// Tool describes one tool in the terms of MCP.
type Tool struct {
	Name         string          `json:"name"`
	Title        string          `json:"title"`
	Description  string          `json:"description"`
	InputSchema  json.RawMessage `json:"inputSchema"`
	OutputSchema json.RawMessage `json:"outputSchema,omitempty"`
}

// Set is the tools of one node. It is immutable and safe for concurrent use.
type Set struct {
	whoami []byte // what whoami adds to a result
}

// New returns the tools of the node called name.
func New(name string) *Set {
	quoted := quote(name)
	return &Set{whoami: fmt.Appendf(nil, `"content":[{"type":"text","text":%s}],"structuredContent":{"node":%s}`, quoted, quoted)}
}

// List describes the tools, ordered by name.
func (s *Set) List() []Tool {
	return []Tool{
		{
			Name: "add", Title: "Add", Description: "Adds two numbers.",
			InputSchema:  json.RawMessage(`{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}`),
			OutputSchema: json.RawMessage(`{"type":"object","properties":{"sum":{"type":"number"}},"required":["sum"]}`),
		},
		{
			Name: "echo", Title: "Echo", Description: "Returns the message it is given.",
			InputSchema: json.RawMessage(`{"type":"object","properties":{"message":{"type":"string","description":"What to return"}},"required":["message"]}`),
		},
		{
			Name: "sleep", Title: "Sleep", Description: "Answers after a while.",
			InputSchema: json.RawMessage(fmt.Sprintf(
				`{"type":"object","properties":{"milliseconds":{"type":"integer","minimum":0,"maximum":%d}},"required":["milliseconds"]}`,
				MaxSleep.Milliseconds())),
		},
		{
			Name: "whoami", Title: "Who am I", Description: "Names the node that answers.",
			InputSchema:  json.RawMessage(`{"type":"object"}`),
			OutputSchema: json.RawMessage(`{"type":"object","properties":{"node":{"type":"string"}},"required":["node"]}`),
		},
	}
}

// quote returns s as a JSON string.
func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return b
}
