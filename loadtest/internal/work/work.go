// Package work is what the clients of a load test ask: values that travel, and the script that an agent makes of them.
//
//	FromTool, ReadScenario   the coordinator: what a user wrote, checked, with the files it names
//	Work                     travels; Share is set for each agent
//	Compile ▶ Script         the agent: chooses steps, writes requests, reads answers
package work

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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
	Era    mcp.Era      `json:"era"`              // of the server; over TCP that of Verify, see ask.Question.Era
	Verify ask.Question `json:"verify"`           // a connection counts once this was answered
	Naming Naming       `json:"naming,omitempty"` // by Verify, or by none
	Steps  []Step       `json:"steps,omitempty"`  // of the schedule; none: Verify again

	Think   Think             `json:"think,omitzero"`   // zero: the rate of requests is said elsewhere
	Session Session           `json:"session,omitzero"` // of each client
	Files   map[string][]byte `json:"files,omitempty"`  // that templates take lines of, by the name they have there
	Share   Share             `json:"share,omitzero"`   // of the agent
}

// Step is a request that is asked again and again.
type Step struct {
	Name   string          `json:"name"` // in reports, each step's own
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"` // an object; the strings in it are templates
	Weight int             `json:"weight"`           // beside the others
}

// Think is the time between two requests of one client. On an open schedule it is the interval: a client with a think time of
// two seconds is asked every two seconds, however long an answer takes.
type Think struct {
	From time.Duration `json:"from"`
	To   time.Duration `json:"to"` // not below From
}

// Mean is the middle of the range.
func (t Think) Mean() time.Duration { return t.From + (t.To-t.From)/2 }

// Rate is how many requests per second so many clients make; 0 without a think time.
func (t Think) Rate(clients int) float64 {
	if t.Mean() <= 0 {
		return 0
	}
	return float64(clients) / t.Mean().Seconds()
}

// Session says when a client ends its session and begins a new one.
type Session struct {
	Calls int `json:"calls"` // after so many requests; 0: never
}

// Share is which part of the run an agent has. Agents of one run have the same Seed and Of, and what they count does not
// collide: one of three counts 0, 3, 6 …, another 1, 4, 7 ….
type Share struct {
	Index       int    `json:"index"`        // of the agent, from 0
	Of          int    `json:"of"`           // agents; 0 is one
	FirstClient int    `json:"first_client"` // clients of agents before it
	Seed        uint64 `json:"seed"`         // of random values
}

// Limits of what a user may write.
const (
	MaxSteps    = 200     // the number of a request says which step it is of
	MaxWeight   = 1000000 // of a step
	MaxName     = 100     // characters of a step's name
	MaxText     = 1 << 20 // bytes of a scenario, of arguments, of all parameters together, and of a file
	MaxFiles    = 4 << 20 // bytes of all files
	MaxRequest  = 4 << 20 // bytes of a request
	MaxThink    = 24 * time.Hour
	MaxSessions = 1000000000 // requests of a session
)

// Validate reports all that is wrong.
func (w Work) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(w.Steps) > MaxSteps {
		bad("%d steps are more than %d", len(w.Steps), MaxSteps)
	}
	names := make(map[string]bool, len(w.Steps))
	params, files := 0, 0
	for _, s := range w.Steps {
		if err := s.validate(); err != nil {
			bad("step %s: %w", strconv.Quote(s.Name), err)
		}
		if names[s.Name] {
			bad("two steps are named %q", s.Name)
		}
		names[s.Name] = true
		params += len(s.Params)
	}
	for _, text := range w.Files {
		files += len(text)
	}
	switch {
	case params > MaxText:
		bad("the parameters of all steps are larger than %d bytes", MaxText)
	case files > MaxFiles:
		bad("the files are larger than %d bytes together", MaxFiles)
	}
	if w.Think.From < 0 || w.Think.To < w.Think.From || w.Think.To > MaxThink {
		bad("a think time of %s to %s is not within 0s and %s", w.Think.From, w.Think.To, MaxThink)
	}
	switch {
	case w.Session.Calls < 0 || w.Session.Calls > MaxSessions:
		bad("sessions of %d requests are not of 1 to %d", w.Session.Calls, MaxSessions)
	case w.Session.Calls > 0 && w.Era == mcp.StatelessEra:
		bad("sessions of %d requests: the server is one of %s, which has no sessions; leave them out of the scenario", w.Session.Calls, mcp.Version20260728)
	}
	if w.Share.Index < 0 || w.Share.FirstClient < 0 || w.Share.Index >= max(w.Share.Of, 1) {
		bad("agent %d of %d with clients from %d on is none", w.Share.Index, w.Share.Of, w.Share.FirstClient)
	}
	return errors.Join(errs...)
}

func (s Step) validate() error {
	if err := checkName(s.Name); err != nil {
		return err
	}
	if err := checkMethod(s.Method); err != nil {
		return err
	}
	if s.Method == mcp.MethodInitialize {
		return errors.New("is how a session begins, not a step: say how long sessions are")
	}
	return checkWeight(s.Weight)
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("has no name")
	case utf8.RuneCountInString(name) > MaxName:
		return fmt.Errorf("a name of more than %d characters", MaxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }):
		return fmt.Errorf("%q is not a name: it has characters that cannot be shown", name)
	}
	return nil
}

func checkWeight(n int) error {
	switch {
	case n == 0:
		return errors.New("0 is never asked: leave the step out")
	case n < 0 || n > MaxWeight:
		return fmt.Errorf("%d is not between 1 and %d", n, MaxWeight)
	}
	return nil
}

func checkMethod(method string) error {
	switch {
	case method == "":
		return errors.New("has no method")
	case len(method) > MaxName || strings.ContainsFunc(method, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("%q is not a method such as tools/call", method)
	case strings.HasPrefix(method, "notifications/"):
		return fmt.Errorf("%s is a notification, which nobody answers", method)
	case method == mcp.MethodListen:
		return fmt.Errorf("%s is a stream, which does not end with an answer", method)
	}
	return nil
}

// named is the member of a method's parameters that says what it is about, see Request.
func named(method string) string {
	switch method {
	case mcp.MethodCallTool, methodGetPrompt:
		return "name"
	case methodReadResource:
		return "uri"
	}
	return ""
}

const (
	methodGetPrompt    = "prompts/get"
	methodReadResource = "resources/read"
)
