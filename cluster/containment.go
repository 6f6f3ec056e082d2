package cluster

import (
	"strings"

	"github.com/erlmcp/erlmcp/internal/nearest"
)

// Containment is what holds a node together with everything it starts, so that nothing of it is left
// when the node has ended.
type Containment string

// Values of Spec.Containment; a cluster that runs has one of the last two.
const (
	ContainAuto         Containment = "auto"          // cgroups where they have been delegated, else process groups
	ContainCgroup       Containment = "cgroup"        // a cgroup (v2) a node, which nothing leaves by forking
	ContainProcessGroup Containment = "process-group" // a process group a node; what has left it is looked for
)

var containments = []string{string(ContainAuto), string(ContainCgroup), string(ContainProcessGroup)}

func (c Containment) validate(add func(field, format string, args ...any)) {
	switch c {
	case ContainAuto, ContainCgroup, ContainProcessGroup:
		return
	}
	text := "%q is not one of " + strings.Join(containments, ", ")
	if near := nearest.Find(string(c), containments); near != "" {
		text += "; did you mean " + near + "?"
	}
	add("containment", text, string(c))
}

// ContainmentError says why there can be no cgroups although they are asked for.
type ContainmentError struct{ Err error }

func (e *ContainmentError) Error() string {
	return "cluster.containment: nodes cannot have cgroups: " + e.Err.Error()
}

func (e *ContainmentError) Unwrap() error { return e.Err }

// Hint is the way out.
func (e *ContainmentError) Hint() string {
	return "run `cluster supervise` as a service with Delegate=yes (see `erlmcp cluster unit`), or set cluster.containment to auto"
}
