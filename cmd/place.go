package cmd

import (
	"io"
	"path/filepath"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/daemon"
	"github.com/erlmcp/erlmcp/internal/place"
	"github.com/erlmcp/erlmcp/internal/units"
)

// logsDir is the directory of the daemons' logs, and of those of the nodes unless these are told another one.
func (a *app) logsDir() string {
	dir := a.stateDir()
	usual, _ := place.DefaultState()
	return place.Logs(dir, dir == usual)
}

// daemonLog is the log of a daemon in the background: "lb" or "cluster".
func (a *app) daemonLog(name string) string { return filepath.Join(a.logsDir(), name+".log") }

// clusterSpec is the configured cluster, with the place of its logs.
func (a *app) clusterSpec(c *config.Config) cluster.Spec {
	s := c.Cluster
	if dir := a.logsDir(); s.Logs.Dir == "" && dir != a.stateDir() {
		s.Logs.Dir = cluster.LogDir(dir, s)
	}
	return s
}

// daemonLogSize and daemonLogKeep are about the balancer's log; that of the supervisor is as large as those of its nodes.
const (
	daemonLogSize = 64 * units.MiB
	daemonLogKeep = 5
)

// keepLog has this process, if what it logs goes to the log of a daemon in the background, follow it through
// rotations, and rotate it itself if there is a size.
func (a *app) keepLog(name string, size units.Bytes, keep int) {
	o := daemon.LogOptions{Path: a.daemonLog(name), MaxSize: int64(size), Keep: keep}
	a.stderr.Through(func(w io.Writer) io.Writer { return daemon.KeepLog(w, o) })
}
