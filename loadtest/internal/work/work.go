// Package work is what the clients of a load test ask: values that travel, and the script that an agent makes of them.
package work

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

// Naming is how answers tell which node they are from.
type Naming string

// The ways.
const (
	Nameless Naming = ""            // not at all
	ByAnswer Naming = "whoami"      // the answers to ask.Whoami do
	ByHeader Naming = "X-Served-By" // a field of responses over HTTP
)

// Work is what clients ask.
type Work struct {
	Era    mcp.Era      `json:"era"`              // of the server; over TCP only the form of requests is by it
	Verify ask.Question `json:"verify"`           // a connection counts once this was answered
	Naming Naming       `json:"naming,omitempty"` // by Verify and all that follows, or by none
	Steps  []Step       `json:"steps,omitempty"`  // of the schedule; none: Verify again
}

// Step is a request that is asked again and again.
type Step struct {
	Name   string          `json:"name"` // in reports
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
	Weight int             `json:"weight"` // beside the others
}

// MaxSteps is how many a script may have: the number of a request says which one it is of.
const MaxSteps = 200

// Request is what the head of a request over HTTP says of its body.
type Request struct {
	Step   int // place in the script; Verification of none
	Method string
	Name   string // of the tool or prompt, or the URI of the resource; empty for other methods
}

// Verification is the step of requests that verify a connection.
const Verification = MaxSteps

// Script is work, ready to be asked by the clients of one agent.
type Script struct {
	work  Work
	steps []step
	turn  int
}

type step struct {
	Step
	name string // see Request
}

// Compile makes a script.
func (w Work) Compile() (*Script, error) {
	if len(w.Steps) > MaxSteps {
		return nil, fmt.Errorf("%d steps are more than %d", len(w.Steps), MaxSteps)
	}
	s := &Script{work: w}
	for _, p := range w.Steps {
		var about struct {
			Name string `json:"name"`
			URI  string `json:"uri"`
		}
		if len(p.Params) > 0 {
			if err := json.Unmarshal(p.Params, &about); err != nil {
				return nil, fmt.Errorf("parameters of %s: %w", p.Name, err)
			}
		}
		if about.Name == "" {
			about.Name = about.URI
		}
		s.steps = append(s.steps, step{p, about.Name})
	}
	return s, nil
}

// Work is what the script is made of.
func (s *Script) Work() Work { return s.work }

// StepName is the name of a step in reports.
func (s *Script) StepName(i int) string {
	if i >= len(s.steps) {
		return string(s.work.Verify)
	}
	return s.steps[i].Name
}

// AppendVerify appends the request that verifies a connection, as a line. In a session, which has agreed on a revision, it must
// not name another one, as a request of the stateless era does.
func (s *Script) AppendVerify(dst []byte, id uint64) ([]byte, Request) {
	r := Request{Step: Verification, Method: string(s.work.Verify)}
	if s.work.Verify.Names() {
		r.Method, r.Name = mcp.MethodCallTool, string(s.work.Verify)
		return mcp.AppendToolCall(dst, id, r.Name, s.work.Era), r
	}
	return s.work.Verify.Append(dst, id), r
}

// Next chooses the step that comes next.
func (s *Script) Next() int {
	if len(s.steps) == 0 {
		return Verification
	}
	s.turn++
	return s.turn % len(s.steps)
}

// AppendStep appends the request of a step, as a line.
func (s *Script) AppendStep(dst []byte, i int, id uint64) ([]byte, Request) {
	if i >= len(s.steps) {
		return s.AppendVerify(dst, id)
	}
	p := &s.steps[i]
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(append(dst, `,"method":`...), strconv.Quote(p.Method)...)
	if len(p.Params) > 0 {
		dst = append(append(dst, `,"params":`...), p.Params...)
	}
	return append(dst, '}', '\n'), Request{i, p.Method, p.name}
}

// Parse reads what a server says. Which step it answers is a part of its number, see OfID.
func (s *Script) Parse(line []byte) ask.Reply {
	r := s.work.Verify.Parse(line)
	if _, step := OfID(r.ID); step < len(s.steps) && s.work.Verify.Names() && r.Kind == ask.ReplyError && r.Code == 0 {
		r.Kind = ask.ReplyAnswer // of another step than the one that names the node
	}
	return r
}

// ID is the number of a request of a step that was due so many microseconds after an agent's epoch. It can be written in
// JSON without loss for a hundred days.
func ID(us int64, step int) uint64 { return uint64(us)<<8 | uint64(step) }

// OfID undoes ID.
func OfID(id uint64) (us int64, step int) { return int64(id >> 8), int(id & 0xff) }
