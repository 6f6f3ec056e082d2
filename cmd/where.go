package cmd

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/proxy"
)

// tellWhere says where clients find the system that runs, and people its dashboard and logs.
func (a *app) tellWhere(ctx context.Context) error {
	s, err := a.balancerStats(ctx)
	if errors.Is(err, control.ErrNotRunning) { // stopped again just now
		return nil
	}
	if err != nil {
		return err
	}
	running, err := cluster.Connect(a.stateDir()).Spec(ctx)
	if err != nil {
		running = a.clusterSpec(a.loaded)
	}
	for _, line := range show.Where(s.Listeners) {
		a.notef("%s", line)
	}
	a.notef("logs: %s, and of the nodes %s (erlmcp cluster tail)",
		a.daemonLog("lb"), filepath.Join(cluster.LogDir(a.stateDir(), running), "*.log"))
	return nil
}

// noNode tells why no client can be served as yet, and what to do.
func (a *app) noNode(ctx context.Context, s *proxy.Stats) (reasons []string, advice string) {
	return show.NoNode(s, func() bool {
		_, err := cluster.Connect(a.stateDir()).Status(ctx)
		return !errors.Is(err, control.ErrNotRunning)
	})
}

// warnOfNoNode says when no client can be served as yet. That is no error: nodes may come.
func (a *app) warnOfNoNode(ctx context.Context, s *proxy.Stats) {
	for _, misfit := range show.Misfits(s) {
		a.warnf("%s", misfit)
	}
	reasons, advice := a.noNode(ctx, s)
	if len(reasons) == 0 {
		return
	}
	a.warnf("no node is up yet, so clients are refused")
	for _, reason := range reasons {
		a.warnf("%s", reason)
	}
	a.hintf("%s", advice)
}

// logNoNode is warnOfNoNode for a balancer's log.
func (a *app) logNoNode(ctx context.Context) {
	s, err := a.balancerStats(ctx)
	if err != nil {
		return
	}
	log := a.log("lb")
	for _, misfit := range show.Misfits(&s) {
		log.Warn(misfit)
	}
	reasons, advice := a.noNode(ctx, &s)
	if len(reasons) == 0 {
		return
	}
	log.Warn("no node is up yet, so clients are refused", "hint", advice)
	for _, reason := range reasons {
		log.Warn(reason)
	}
}
