package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/cluster/nodelog"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Names of runtimes: what a node is made of.
const (
	RuntimeEmbedded = "embedded" // this program's own MCP node
	RuntimeErlang   = "erlang"   // an Erlang release
	RuntimeCommand  = "command"  // any program
)

// Spec says what a cluster is made of: the section "cluster" of erlmcp.yaml. Decode it over
// [Default], so that a missing key keeps its default, then Validate it.
type Spec struct {
	Runtime string          `yaml:"runtime" json:"runtime"`
	Nodes   []topology.Node `yaml:"nodes" json:"nodes"`

	// Resized says that Nodes are others than those configured, because somebody has asked for another
	// number of them or has added or removed some.
	Resized bool `yaml:"-" json:"resized,omitempty"`

	// NodeMaxConnections is how many connections a node must be able to hold; 0 leaves it to the node.
	NodeMaxConnections int `yaml:"node_max_connections" json:"node_max_connections"`

	// StartTimeout is how long a node may take until it is ready, StopTimeout until it has ended; then it is
	// killed. 0 in a Spec that was not decoded over Default means what Default says.
	StartTimeout time.Duration `yaml:"start_timeout" json:"start_timeout"`
	StopTimeout  time.Duration `yaml:"stop_timeout" json:"stop_timeout"`

	// OpenFiles is the soft limit of open files that nodes are started with; 0 is that of whoever starts the
	// cluster.
	OpenFiles int `yaml:"open_files" json:"open_files"`

	// Nice is the niceness of nodes, as in nice(1), so that the balancer and health checks of the same machine are quick
	// whatever nodes compute; 0 is that of whoever starts the cluster.
	Nice int `yaml:"nice" json:"nice"`

	Liveness Liveness `yaml:"liveness" json:"liveness"`

	Containment Containment `yaml:"containment" json:"containment"`

	Erlang  Erlang       `yaml:"erlang" json:"erlang"`
	Command Command      `yaml:"command" json:"command"`
	Logs    nodelog.Spec `yaml:"logs" json:"logs"`
}

// Bounds of what a Spec may ask for.
const (
	maxNodeMaxConnections = 10_000_000
	minOpenFiles          = 64
	maxOpenFiles          = 1 << 30
	maxNice               = 19
	minNodeTimeout        = 100 * time.Millisecond
	maxNodeTimeout        = 24 * time.Hour
)

// Default is four embedded nodes on this machine.
func Default() Spec {
	return Spec{
		Runtime:      RuntimeEmbedded,
		Nodes:        topology.Default(4),
		StartTimeout: defaultPace.startTimeout,
		StopTimeout:  defaultPace.stopGrace,
		Liveness:     Liveness{Failures: 3},
		Containment:  ContainAuto,
		Erlang:       Erlang{Root: ".", Application: "erlmcp", Address: "127.0.0.1"},
		Command:      Command{Dir: ".", Ready: ReadyAuto, ReadyPath: "/health"},
		Logs:         nodelog.Default(),
	}
}

// Validate reports everything that is wrong with s, each error beginning with the field's path
// ("cluster.logs.keep: …"). It opens nothing.
func (s *Spec) Validate() error {
	var wrong []error
	add := func(field, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("cluster."+field+": "+format, args...))
	}
	validateNodes := topology.Validate
	switch s.Runtime {
	case RuntimeEmbedded:
		validateNodes = topology.ValidateEmbedded
	case RuntimeErlang:
		s.Erlang.validate(add)
	case RuntimeCommand:
		s.Command.validate(s.Nodes, add)
	default:
		add("runtime", "%q is not one of %s, %s, %s", s.Runtime, RuntimeEmbedded, RuntimeErlang, RuntimeCommand)
	}
	if err := validateNodes(s.Nodes); err != nil {
		field, text, _ := strings.Cut(err.Error(), ": ")
		if text == "" {
			field, text = "", field
		}
		add("nodes"+field, "%s", text)
	}
	if n := s.NodeMaxConnections; n < 0 || n > maxNodeMaxConnections {
		add("node_max_connections", "%d is not within 0..%d", n, maxNodeMaxConnections)
	}
	for _, t := range []struct {
		key   string
		value time.Duration
	}{{"start_timeout", s.StartTimeout}, {"stop_timeout", s.StopTimeout}} {
		if t.value != 0 && (t.value < minNodeTimeout || t.value > maxNodeTimeout) {
			add(t.key, "%v is not within %v..%v", t.value, minNodeTimeout, maxNodeTimeout)
		}
	}
	if n := s.OpenFiles; n != 0 && (n < minOpenFiles || n > maxOpenFiles) {
		add("open_files", "%d is not within %d..%d", n, minOpenFiles, maxOpenFiles)
	}
	if n := s.Nice; n < 0 || n > maxNice {
		add("nice", "%d is not within 0..%d", n, maxNice)
	}
	s.Liveness.validate(add)
	s.Containment.validate(add)
	s.Logs.Validate(add)
	return errors.Join(wrong...)
}

// ReadSpec decodes the JSON form of a Spec, which [Start] hands to the supervisor.
func ReadSpec(r io.Reader) (Spec, error) {
	var s Spec
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("read cluster specification: %w", err)
	}
	err := s.Validate()
	return s, err
}

// pick returns the nodes of the given names in the order of the cluster; no names means all.
func pick(nodes []topology.Node, names []string) ([]topology.Node, error) {
	wanted := map[string]bool{}
	for _, name := range names {
		if _, err := topology.Find(nodes, name); err != nil {
			return nil, err
		}
		wanted[name] = true
	}
	if len(wanted) == 0 {
		return nodes, nil
	}
	var picked []topology.Node
	for _, n := range nodes {
		if wanted[n.Name] {
			picked = append(picked, n)
		}
	}
	return picked, nil
}
