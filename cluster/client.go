package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
)

// daemonName is the supervisor's name in a state directory.
const daemonName = "cluster"

// Signal is what [Client.Kill] sends.
type Signal string

// Signals that Kill knows.
const (
	SignalKill Signal = "KILL" // dies at once
	SignalStop Signal = "STOP" // freezes: connections stay, nothing is answered
	SignalCont Signal = "CONT" // goes on
)

// Codes of refusals (control.Error.Code).
const (
	codeStopping   = "stopping"
	codeNotRunning = "node_not_running"
)

// Client asks the supervisor of a state directory. Its methods fail with control.ErrNotRunning when
// there is none and with *control.Error when it refuses. Names are of nodes; none means all of
// them.
type Client struct {
	control *control.Client
	dir     string
}

// Connect returns a client for the supervisor of stateDir, which need not run.
func Connect(stateDir string) *Client {
	return &Client{control: control.NewClient(stateDir, daemonName), dir: stateDir}
}

type nodesRequest struct {
	Names []string `json:"names"`
}

type killRequest struct {
	Name   string `json:"name"`
	Signal Signal `json:"signal"`
	Hold   bool   `json:"hold"`
}

// answerTimeout is how long a supervisor may take to answer what it can answer at once.
const answerTimeout = 3 * time.Second

// SilentError says that there is a supervisor which does not answer.
type SilentError struct{ Err error }

func (e *SilentError) Error() string { return e.Err.Error() }
func (e *SilentError) Unwrap() error { return e.Err }

// Hint is the way out.
func (e *SilentError) Hint() string { return "erlmcp cluster stop ends a supervisor that hangs" }

// quick asks what is answered at once.
func (c *Client) quick(ctx context.Context, method, path string, in, out any) error {
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := c.control.Do(limited, method, path, in, out)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return &SilentError{err}
	}
	return err
}

// long asks what takes its time, if the supervisor answers at all.
func (c *Client) long(ctx context.Context, path string, in any) error {
	if _, err := c.Status(ctx); err != nil {
		return err
	}
	return c.control.Do(ctx, http.MethodPost, path, in, nil)
}

// Status returns what the supervisor knows.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.quick(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// Spec returns what the running cluster was started with.
func (c *Client) Spec(ctx context.Context) (s Spec, err error) {
	err = c.quick(ctx, http.MethodGet, "/v1/spec", nil, &s)
	return s, err
}

// Watch calls each with the status of every node, and again whenever one changes, until ctx ends or
// the supervisor does.
func (c *Client) Watch(ctx context.Context, each func(NodeStatus)) error {
	return c.control.Stream(ctx, "/v1/watch", func(line json.RawMessage) error {
		var s NodeStatus
		if err := json.Unmarshal(line, &s); err != nil {
			return fmt.Errorf("watch cluster: %w", err)
		}
		each(s)
		return nil
	})
}

// StartNodes starts the nodes that do not run and returns when all of them are ready. When one
// fails, or ctx ends, those it had started are taken down again.
func (c *Client) StartNodes(ctx context.Context, names []string) error {
	return c.long(ctx, "/v1/start", nodesRequest{names})
}

// StopNodes stops nodes gracefully, all at once, and returns when they have ended.
func (c *Client) StopNodes(ctx context.Context, names []string) error {
	return c.long(ctx, "/v1/stop", nodesRequest{names})
}

// RestartNodes stops and starts nodes, one after the other, each ready before the next is stopped.
// The first one that fails ends it.
func (c *Client) RestartNodes(ctx context.Context, names []string) error {
	return c.long(ctx, "/v1/restart", nodesRequest{names})
}

// DrainNodes says of nodes that they get no new clients any more, which the status then shows. It keeps
// nobody away; that is up to the balancer.
func (c *Client) DrainNodes(ctx context.Context, names []string) error {
	return c.quick(ctx, http.MethodPost, "/v1/drain", nodesRequest{names}, nil)
}

// ResumeNodes takes DrainNodes back.
func (c *Client) ResumeNodes(ctx context.Context, names []string) error {
	return c.quick(ctx, http.MethodPost, "/v1/resume", nodesRequest{names}, nil)
}

// Kill sends a signal to all processes of a node and returns when it is sent. A killed node is
// started again as after any death, unless hold keeps it down until somebody starts it.
func (c *Client) Kill(ctx context.Context, name string, signal Signal, hold bool) error {
	return c.quick(ctx, http.MethodPost, "/v1/kill", killRequest{name, signal, hold}, nil)
}

// Shutdown takes the cluster down, see [Stop].
func (c *Client) Shutdown(ctx context.Context) error { return Stop(ctx, c.dir) }
