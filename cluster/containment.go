package cluster

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/cluster/internal/process"
	"github.com/erlmcp/erlmcp/internal/advice"
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
	if !slices.Contains(containments, string(c)) {
		add("containment", "%s", nearest.OneOf(string(c), containments))
	}
}

// noCgroups says why there can be none although they are asked for.
func noCgroups(err error) error {
	return advice.With(fmt.Errorf("cluster.containment: nodes cannot have cgroups: %w", err),
		"run `cluster supervise` as a service with Delegate=yes (see `erlmcp cluster unit`), or set cluster.containment to auto")
}

// contain makes a cage if that is wanted and possible; nil means process groups. Before, it clears the one
// that the last supervisor of the state directory has left, if that was killed. The caller is the only
// supervisor of the state directory.
func contain(want Containment, stateDir string, log *log.Logger) (*process.Cage, error) {
	record := filepath.Join(stateDir, daemonName+".cgroup")
	if err := process.Sweep(record); err != nil {
		log.Warn("cgroups of a killed supervisor are left", "err", err)
	}
	if want == ContainProcessGroup {
		return nil, nil
	}
	cage, err := process.NewCage(record, want == ContainAuto, log)
	switch {
	case err == nil:
		log.Info("nodes run in cgroups of their own", "below", cage.Dir())
	case want == ContainCgroup:
		return nil, noCgroups(err)
	default:
		log.Debug("nodes run in process groups", "no cgroups because", err)
	}
	return cage, nil
}

// containmentBy is what a cage, or none, makes of nodes.
func containmentBy(cage *process.Cage) Containment {
	if cage != nil {
		return ContainCgroup
	}
	return ContainProcessGroup
}

// checkContainment reports cgroups that are asked for and cannot be had.
func checkContainment(want Containment) error {
	if want != ContainCgroup {
		return nil
	}
	if err := process.CheckCage(); err != nil {
		return noCgroups(err)
	}
	return nil
}
