package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/fits"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/cmd/internal/systemd"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/daemon"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/master"
)

func newLBCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lb",
		Short: "Run the load balancer",
		Long: `Run the load balancer, which the section "lb" of the configuration describes, and control the one that runs.
There is one per state directory.`,
	}
	cmd.AddCommand(
		newLBServeCommand(a), newLBStartCommand(a), newLBStopCommand(a), newLBStatusCommand(a),
		newLBReloadCommand(a), newLBCheckCommand(a), newUnitCommand(a, &systemd.LB),
		newLBDrainCommand(a), newLBDisableCommand(a), newLBEnableCommand(a),
		newLBBanCommand(a), newLBExplainCommand(a), newLBTokenCommand(a), newLBCertCommand(a),
		newLBWorkerCommand(a),
	)
	return cmd
}

func newLBStartCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start [flags]",
		Short: "Run the balancer in the background",
		Long: `Run the balancer in the background, and return when it accepts clients. "erlmcp config paths" says where its log is.
If no node is up, that is no error: the command says so, and clients are served as soon as a node is up.`,
		Example: `  erlmcp lb start
  erlmcp lb start --listen :9000 --balance roundrobin`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.startBalancer(cmd.Context(), givenFlags(cmd))
		},
	}
	a.addLBFlags(cmd)
	return addTimeout(a.addChangeFlags(cmd), "what was started is ended again; its log tells how far it came: erlmcp config paths")
}

// startBalancer starts the balancer with more flags of "lb serve" and says so.
func (a *app) startBalancer(ctx context.Context, flags []string) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	pid, ok, err := control.Running(a.stateDir(), "lb")
	if err != nil {
		return err
	}
	if ok {
		return exit.Hinted(&control.RunningError{Name: "lb", PID: pid}, "erlmcp lb stop ends it; erlmcp lb reload has it read its configuration again")
	}
	if err := fits.Balancer(c); err != nil {
		return err
	}
	args, err := a.globalArgs()
	if err != nil {
		return err
	}
	if a.changes.dryRun {
		listen := c.LB.Listening()
		a.would(change{Action: "start", Kind: "lb"}, "start lb at %s", cmp.Or(listen.TCP, listen.HTTP, listen.HTTPS))
		return nil
	}
	begin := time.Now()
	_ = a.stderr.Drawf("starting the balancer")
	pid, err = daemon.Start(ctx, daemon.Options{
		Args: slices.Concat([]string{"lb", "serve"}, args, flags), Input: a.configText, LogFile: a.daemonLog("lb"),
	})
	if err != nil {
		return err
	}
	if err := a.stderr.Erase(); err != nil {
		return err
	}
	s, err := a.balancerStats(ctx)
	if err != nil { // stopped again just now
		s = proxy.Stats{Listeners: []proxy.ListenerStats{{Name: "tcp", Address: c.LB.Listen.TCP}}}
	}
	a.did(change{Action: "start", Kind: "lb", Detail: map[string]any{"pid": pid, "listeners": s.Listeners}},
		"lb serves %s (pid %d), started in %v", show.FirstAddress(&s), pid, time.Since(begin).Round(10*time.Millisecond))
	a.warnOfNoNode(ctx, &s)
	return nil
}

func newLBStopCommand(a *app) *cobra.Command {
	var now bool
	cmd := &cobra.Command{
		Use:   "stop [--now]",
		Short: "Stop the balancer",
		Long: `Stop the balancer. It takes no new clients, and ends when the present ones have left or lb.timeouts.drain is
over. If it does not run, that is no error.`,
		Example: `  erlmcp lb stop
  erlmcp lb stop --now`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.stopBalancer(cmd.Context(), now) },
	}
	cmd.Flags().BoolVar(&now, "now", false, "cut all connections instead of draining")
	return addTimeout(a.addChangeFlags(cmd), "it goes on draining; erlmcp lb stop --now ends it")
}

// stopBalancer stops the balancer, drained unless now, and says so.
func (a *app) stopBalancer(ctx context.Context, now bool) error {
	client := proxy.Connect(a.stateDir())
	stopped := change{Action: "stop", Kind: "lb"}
	if a.changes.dryRun {
		return a.wouldStopBalancer(ctx, stopped, now)
	}
	var err error
	if now {
		err = client.StopNow(ctx)
	} else {
		err = client.Stop(ctx, func(left int64) {
			_ = a.stderr.Drawf("draining: %s left (erlmcp lb stop --now cuts them)", show.Count(int(left), "client"))
		})
	}
	switch {
	case control.NotRunning(err):
		a.notef("lb is not running")
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return exit.Hinted(err, "erlmcp lb stop --now ends a balancer that hangs")
	case err != nil:
		return err
	}
	if err := a.stderr.Erase(); err != nil {
		return err
	}
	a.did(stopped, "lb stopped")
	return nil
}

// wouldStopBalancer says, for --dry-run, whom a stop would meet.
func (a *app) wouldStopBalancer(ctx context.Context, stopped change, now bool) error {
	s, err := a.balancerStats(ctx)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		a.notef("lb is not running")
	case err != nil:
		return err
	case now:
		a.would(stopped, "stop lb and cut %s", show.Count(int(s.Connections.Active), "client"))
	default:
		a.would(stopped, "drain and stop lb: %s", show.Count(int(s.Connections.Active), "client"))
	}
	return nil
}

func newLBReloadCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the balancer read its configuration again",
		Long: `Have the running balancer read its configuration again, with the flags and the environment it was started
with. No connection is closed for it, unless the address of a client listener changes. If anything is wrong,
all of the old configuration stays in force. With --dry-run, the balancer checks the new one and says which
keys differ.`,
		Example: `  erlmcp lb reload --dry-run
  erlmcp lb reload`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, done := proxy.Connect(a.stateDir()), change{Action: "reload", Kind: "lb"}
			reload := client.Reload
			if a.changes.dryRun {
				reload = client.PlanReload
			}
			r, err := reload(cmd.Context())
			if err != nil {
				return startHint(err, "lb")
			}
			done.Detail = r
			switch {
			case len(r.Changed) > 0 && a.would(done, "reload: %s", strings.Join(r.Changed, ", ")):
			case len(r.Changed) > 0:
				a.did(done, "reloaded: %s", strings.Join(r.Changed, ", "))
			case len(r.Moved) > 0:
				a.did(done, "%s", strings.Join(r.Moved, "; "))
				return nil
			default:
				a.notef("nothing has changed")
			}
			for _, moved := range r.Moved {
				a.notef("%s", moved)
			}
			if len(r.Restart) > 0 {
				a.notef("needs a restart: %s", strings.Join(r.Restart, ", "))
			}
			return nil
		},
	}
	return addTimeout(a.addChangeFlags(cmd), "erlmcp lb status tells whether the configuration was taken")
}

func newLBCheckCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration without using it",
		Long: `Check what "erlmcp config check" checks, and also what the balancer needs on this machine. Nodes that run are
asked whether they speak what the configuration says, at the path it says. Nodes that do not run yet are
left out.`,
		Example: `  erlmcp lb check && erlmcp lb reload
  erlmcp lb check -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r checked
			return a.printCheck(format, &r, a.checkBalancer(cmd.Context(), &r))
		},
	}
	format.addOutputFlags(cmd)
	return cmd
}

// checkBalancer notes in r what it finds wrong with the configuration, the machine and the nodes.
func (a *app) checkBalancer(ctx context.Context, r *checked) error {
	if err := a.checkConfig(r); err != nil {
		return err
	}
	c := a.loaded
	workers, most, clients, err := master.Plan(c.LB)
	if err != nil {
		return exit.WithCode(exit.Machine, err)
	}
	nodes, _ := c.AllNodes() // of a file that cannot be taken, the warnings tell
	growth := ""
	if most > workers {
		growth = fmt.Sprintf(", up to %d", most)
	}
	listen := c.LB.Listening()
	r.Text = fmt.Sprintf("the configuration is valid: %s, %s, %d clients, %s of at most %d%s",
		cmp.Or(listen.TCP, listen.HTTP, listen.HTTPS), show.Count(len(nodes), "node"), c.LB.MaxConnections, show.Count(workers, "worker"), clients, growth)
	return a.checkNodes(ctx, c)
}

// checkNodes asks the nodes that run whether they are what they are configured as.
func (a *app) checkNodes(ctx context.Context, c *config.Config) error {
	if c.LB.Checks.Kind != "mcp" {
		return nil
	}
	collector, err := a.healthCollector(ctx)
	if err != nil {
		return err
	}
	misfits := collector.Misfits(ctx)
	if len(misfits) == 0 {
		return nil
	}
	var errs []error
	for _, text := range misfits {
		errs = append(errs, errors.New(text))
	}
	return exit.Hinted(errors.Join(errs...), "write what is there into the configuration, then run erlmcp lb check")
}
