package cluster

import (
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/cluster/nodelog"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Schema is the value of Status.Schema.
const Schema = "erlmcp.cluster/v1"

// Phase is what the supervisor is about.
type Phase string

// The phases of a supervisor.
const (
	PhaseStarting Phase = "starting" // its first nodes are not all ready
	PhaseRunning  Phase = "running"
	PhaseStopping Phase = "stopping"
	PhaseStopped  Phase = "stopped" // there is none
)

// State is where a node is in its life; see the package's picture.
type State string

// The states of a node.
const (
	StateStopped   State = "stopped"
	StateStarting  State = "starting" // the process runs, it has not answered yet
	StateReady     State = "ready"
	StateDegraded  State = "degraded"  // serves, but not as it should
	StateDraining  State = "draining"  // serves whom it has, and is about to be stopped
	StateBackoff   State = "backoff"   // died, will be started again
	StateCrashLoop State = "crashloop" // the same, after it has died many times
	StateStopping  State = "stopping"
	StateHeld      State = "held" // killed on request and kept down until it is started
)

// Serves reports whether a node in that state answers clients.
func (s State) Serves() bool {
	return s == StateReady || s == StateDegraded || s == StateDraining
}

// down reports whether a node in that state does not run and is not about to.
func (s State) down() bool { return s == StateStopped || s == StateHeld }

// Status is what a supervisor knows, as printed by `cluster status --json`.
type Status struct {
	Schema      string       `json:"schema"`
	PID         int          `json:"pid"`           // of the supervisor; 0 when there is none
	Time        time.Time    `json:"time,omitzero"` // when this was so, by the supervisor's clock
	State       Phase        `json:"state"`
	Foreground  bool         `json:"foreground,omitempty"`  // somebody else looks after the supervisor, which restarts in place
	Containment Containment  `json:"containment,omitempty"` // ContainCgroup or ContainProcessGroup, while there is a supervisor
	Nodes       []NodeStatus `json:"nodes"`
}

// NodeStatus is one node's share of it.
type NodeStatus struct {
	Name     string    `json:"name"`
	State    State     `json:"state"`
	PID      int       `json:"pid,omitempty"`  // of the leader of its process group; 0 when it does not run
	Since    time.Time `json:"since,omitzero"` // when the state was entered, by the clock as it is now
	Restarts int       `json:"restarts"`       // starts that nobody asked for
	Reason   string    `json:"reason,omitempty"`

	TCP  string `json:"tcp,omitempty"` // host:port
	HTTP string `json:"http,omitempty"`
	SSE  string `json:"sse,omitempty"`

	Distribution *Distribution `json:"distribution,omitempty"` // of a runtime whose nodes know each other, while it serves

	Log     string `json:"log"`                      // file
	LogLost int64  `json:"log_lost_bytes,omitempty"` // what could not be written to it
}

// Healthy reports whether every node is ready.
func (s Status) Healthy() bool {
	return !slices.ContainsFunc(s.Nodes, func(n NodeStatus) bool { return n.State != StateReady })
}

// Names lists the names of the nodes, in their order.
func (s Status) Names() []string {
	names := make([]string, len(s.Nodes))
	for i, n := range s.Nodes {
		names[i] = n.Name
	}
	return names
}

// Only returns the status with the named nodes alone; no names means all.
func (s Status) Only(names []string) (Status, error) {
	if len(names) == 0 {
		return s, nil
	}
	known := s.Names()
	for _, name := range names {
		if !slices.Contains(known, name) {
			return s, &topology.UnknownError{Name: name, Nodes: known}
		}
	}
	unwanted := func(n NodeStatus) bool { return !slices.Contains(names, n.Name) }
	s.Nodes = slices.DeleteFunc(slices.Clone(s.Nodes), unwanted)
	return s, nil
}

// Offline is the status of the cluster spec while no supervisor runs in stateDir.
func Offline(stateDir string, spec Spec) Status {
	s := Status{Schema: Schema, State: PhaseStopped, Nodes: make([]NodeStatus, len(spec.Nodes))}
	for i, n := range spec.Nodes {
		s.Nodes[i] = newNodeStatus(n, nodelog.Path(LogDir(stateDir, spec), n.Name))
	}
	return s
}

// newNodeStatus is the status of a node before its first start.
func newNodeStatus(n topology.Node, log string) NodeStatus {
	return NodeStatus{
		Name: n.Name, State: StateStopped, Log: log,
		TCP: n.TCPAddress(), HTTP: n.HTTPAddress(), SSE: n.SSEAddress(),
	}
}
