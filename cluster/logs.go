package cluster

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/erlmcp/erlmcp/cluster/nodelog"
	"github.com/erlmcp/erlmcp/internal/control"
)

// LogDir is the directory of the nodes' logs.
func LogDir(stateDir string, spec Spec) string {
	if spec.Logs.Dir != "" {
		return spec.Logs.Dir
	}
	return filepath.Join(stateDir, "logs")
}

// NodeLogs returns the logs of the named nodes (none means all): those of the cluster that runs in
// stateDir, else those that spec says.
func NodeLogs(ctx context.Context, stateDir string, spec Spec, names []string) ([]nodelog.Log, error) {
	dir := LogDir(stateDir, spec)
	running, err := Connect(stateDir).Spec(ctx)
	switch {
	case err == nil:
		spec, dir = running, LogDir(stateDir, running)
	case spec.Logs.Dir == "" && errors.As(err, new(*control.DirError)): // which the logs are in
		return nil, err
	}
	nodes, err := pick(spec.Nodes, names)
	if err != nil {
		return nil, err
	}
	logs := make([]nodelog.Log, len(nodes))
	for i, n := range nodes {
		logs[i] = nodelog.Log{Node: n.Name, Path: nodelog.Path(dir, n.Name)}
	}
	return logs, nil
}
