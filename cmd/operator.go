package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/fits"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/operate"
	"github.com/erlmcp/erlmcp/proxy"
)

// operator carries out orders for the state directory, and tells people and programs of it.
func (a *app) operator() *operate.Operator {
	return &operate.Operator{
		Cluster: cluster.Connect(a.stateDir()), Balancer: proxy.Connect(a.stateDir()), Program: program{a},
		DryRun: a.changes.dryRun, Tell: a.tell,
	}
}

// program is this one, as it is configured.
type program struct{ *app }

func (p program) Configured() (*cluster.Spec, error) {
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	return &c.Cluster, nil
}

func (p program) NodesFit() error { return fits.Nodes(p.loaded) }

func (p program) Fits() error { return fits.Rest(p.loaded, p.stateDir()) }

func (p program) StartNodes(ctx context.Context, names []string) error {
	return p.withNodes(names, func(o cluster.Options) error { return cluster.Start(ctx, o) })
}

func (p program) PrepareRestart(ctx context.Context) (inPlace bool, err error) {
	o, err := p.clusterOptions(p.loaded, nil)
	if err != nil {
		return false, err
	}
	return cluster.PrepareRestart(ctx, o)
}

func (p program) RestartInPlace(ctx context.Context) error {
	return p.withNodes(nil, func(o cluster.Options) error { return cluster.RestartInPlace(ctx, o) })
}

// withNodes does what shows the progress of nodes.
func (p program) withNodes(names []string, do func(cluster.Options) error) error {
	o, err := p.clusterOptions(p.loaded, names)
	if err != nil {
		return err
	}
	if err := do(o); err != nil {
		return err
	}
	return p.stderr.Erase()
}

func (p program) StartBalancer(ctx context.Context) error { return p.startBalancer(ctx, nil) }

func (p program) StopBalancer(ctx context.Context, now bool) error { return p.stopBalancer(ctx, now) }

func (p program) BalancerRuns() bool {
	_, runs, _ := control.Running(p.stateDir(), "lb")
	return runs
}

// clusterOptions are what starts the configured cluster, or these nodes of it.
func (a *app) clusterOptions(c *config.Config, names []string) (cluster.Options, error) {
	args, err := a.globalArgs()
	return cluster.Options{
		StateDir: a.stateDir(), Spec: a.clusterSpec(c), Names: names, Args: args, LogFile: a.daemonLog("cluster"),
		Note:     func(text string) { a.notef("note: %s", text) },
		Progress: a.nodeProgress(),
	}, err
}

// nodeProgress draws which nodes are ready while they start.
func (a *app) nodeProgress() func(cluster.NodeStatus) {
	var mu sync.Mutex
	var order []string
	states := map[string]cluster.State{}
	return func(n cluster.NodeStatus) {
		mu.Lock()
		defer mu.Unlock()
		if _, known := states[n.Name]; !known {
			order = append(order, n.Name)
		}
		states[n.Name] = n.State
		line := "starting"
		for _, name := range order {
			line += "  " + name + " " + a.stderr.Paint(show.NodeStyle(states[name]), string(states[name]))
		}
		_ = a.stderr.Draw(line)
	}
}

// tell says what an operator does, in words.
func (a *app) tell(e operate.Event) {
	switch e := e.(type) {
	case operate.Change:
		a.tellChange(&e)
	case operate.AlreadyRunning:
		a.notef("already running: %s", strings.Join(e.Names, ", "))
	case operate.NotRunning:
		a.notef("cluster is not running")
	case operate.BalancerRuns:
		a.notef("already running: lb (pid %d)", e.Stats.PID)
		a.warnOfNoNode(context.Background(), &e.Stats)
	case operate.RestartedInPlace:
		a.notef("restarted %s in %v, in place (pid %d)", strings.Join(e.Names, ", "), e.Took.Round(10*time.Millisecond), e.PID)
	case operate.Draining:
		_ = a.stderr.Drawf("%s drains: %s left", e.Name, show.Count(e.Clients, "client"))
	case operate.Cut:
		text := fmt.Sprintf("%s is stopped with %s left", e.Name, show.Count(e.Clients, "client"))
		if e.Requests > 0 {
			text += fmt.Sprintf(", %s unanswered", show.Count(e.Requests, "request"))
		}
		a.notef("%s", text)
	case operate.Undrained:
		a.warnf("stopping without draining: %v", e.Err)
	case operate.Misplaced:
		a.warnf("lb has %s at %s, where it does not listen: change lb.nodes, then erlmcp lb reload", e.Name, e.Address)
	}
}

// stoppingWays are what is done to nodes that stop.
var stoppingWays = map[operate.Action]map[operate.Way]string{
	operate.Stop:    {operate.AtOnce: "stop", operate.Drained: "drain and stop"},
	operate.Restart: {operate.AtOnce: "stop and start", operate.OneByOne: "drain, stop and start, one by one,"},
	operate.Remove:  {operate.AtOnce: "drain, stop and remove"},
}

// tellChange notes a change, and says it.
func (a *app) tellChange(e *operate.Change) {
	c, names := onNodes(string(e.Action), e.Names), strings.Join(e.Names, ", ")
	if e.Whole {
		c.Kind = "cluster"
	}
	doing := stoppingWays[e.Action][e.By]
	switch {
	case e.Planned && e.Whole:
		a.would(c, "%s the cluster: %s", doing, show.Nodes(e.Names, "no node runs"))
	case e.Planned && doing != "":
		a.would(c, "%s %s", doing, show.Nodes(e.Names, "nothing, since these nodes do not run"))
	case e.Planned:
		a.would(c, "%s %s", e.Action, names)
	case e.Reloaded != nil:
		a.did(change{Action: c.Action, Kind: "lb", Detail: *e.Reloaded}, "lb follows: reloaded %s", strings.Join(e.Reloaded.Changed, ", "))
	case e.LeavesEPMD:
		a.did(c, "cluster stopped; epmd, which all Erlang nodes of this machine share, is left as it is")
	case e.Whole:
		a.did(c, "cluster stopped")
	case e.Action == operate.Start:
		a.did(c, "started %s in %v", names, e.Took.Round(10*time.Millisecond))
	default:
		a.did(c, "%s %s", map[operate.Action]string{
			operate.Stop: "stopped", operate.Restart: "restarted", operate.Add: "added", operate.Remove: "removed",
		}[e.Action], names)
	}
}

// balancerStats asks the balancer, which must answer soon.
func (a *app) balancerStats(ctx context.Context) (proxy.Stats, error) { return a.operator().Stats(ctx) }

// followCluster gives the balancer the nodes of the cluster that runs, which may be others than configured, or
// elsewhere, unless the balancer's configuration names its own.
func (a *app) followCluster(ctx context.Context, c *config.Config) {
	if c.Origin("lb.nodes").Name != "cluster.nodes" {
		return
	}
	if nodes := a.operator().RunningNodes(ctx, c.Cluster.Nodes); nodes != nil {
		c.LB.Nodes = nodes
	}
}

// startKeeper starts a process that does what "up" does, for as long as this one lives.
func (a *app) startKeeper(ctx context.Context) (*operate.Keeper, error) {
	args, err := a.globalArgs()
	if err != nil {
		return nil, err
	}
	if a.flags.quiet {
		args = append(args, "--quiet")
	}
	k, err := operate.StartKeeper(ctx, append(args, "loadtest", "keeper"), a.configText)
	return k, keeperSaid(err)
}

// keeperSaid makes the end of a keeper that has said why that of this command.
func keeperSaid(err error) error {
	var e *operate.KeeperError
	if errors.As(err, &e) {
		return exit.With(e.Code)
	}
	return err
}

func newLoadtestKeeperCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "keeper",
		Short:  "Keep cluster and balancer up as long as a load test lives",
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := a.operator().Keep(cmd.Context(), a.stdout)
			if errors.Is(err, operate.ErrNoLifeline) {
				return exit.Hinted(exit.Usagef("%w", err), "erlmcp loadtest --up")
			}
			return err
		},
	}
}
