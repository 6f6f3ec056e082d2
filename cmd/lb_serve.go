package cmd

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/fits"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/daemon"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/master"
	"github.com/erlmcp/erlmcp/proxy/worker"
)

func newLBServeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Run the balancer in the foreground",
		Long: `Run the balancer in the foreground. SIGTERM or Ctrl-C drains it: it takes no new clients, and the present ones
have lb.timeouts.drain to end. A second signal ends it at once. SIGHUP reloads the configuration, like
"lb reload".`,
		Example: `  erlmcp lb serve
  erlmcp lb serve --listen :9000 --log-format json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := a.serveBalancer(cmd.Context())
			if err != nil {
				daemon.Fail(err)
			}
			return err
		},
	}
	a.addLBFlags(cmd)
	return cmd
}

// addLBFlags gives a command those keys of the section "lb" as flags that are set most often.
func (a *app) addLBFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.String("listen", "", "`ADDRESS` for clients (lb.listen.tcp)")
	flags.String("http", "", "`ADDRESS` for clients that speak HTTP (lb.listen.http)")
	flags.String("admin", "", "`ADDRESS` for statistics and metrics (lb.listen.admin)")
	flags.String("health", "", "`ADDRESS` for /health (lb.listen.health)")
	flags.String("balance", "", "`ALGORITHM`: leastconn, roundrobin, source or random2 (lb.balance)")
	flags.Int("max-connections", 0, "`CLIENTS` at a time (lb.max_connections)")
	for name, path := range map[string]string{
		"listen": "lb.listen.tcp", "http": "lb.listen.http", "admin": "lb.listen.admin", "health": "lb.listen.health",
		"balance": "lb.balance", "max-connections": "lb.max_connections",
	} {
		a.bind(flags, name, path)
	}
	_ = cmd.RegisterFlagCompletionFunc("balance",
		cobra.FixedCompletions([]string{"leastconn", "roundrobin", "source", "random2"}, cobra.ShellCompDirectiveNoFileComp))
}

// givenFlags are the command's own flags as they were given, for another process.
func givenFlags(cmd *cobra.Command) (args []string) {
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	return args
}

func (a *app) serveBalancer(ctx context.Context) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	if err := fits.Balancer(c); err != nil {
		return err
	}
	a.keepLog("lb", daemonLogSize, daemonLogKeep)
	a.followCluster(ctx, c)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	err = master.Serve(ctx, c.LB, master.Options{
		StateDir: a.stateDir(),
		Version:  readVersion().Version,
		Load: func() (proxy.Spec, error) {
			c, err := a.loadConfig()
			if err != nil {
				return proxy.Spec{}, err
			}
			a.followCluster(ctx, c)
			return c.LB, nil
		},
		DecodeNodes:  config.DecodeNodes,
		NodeRestarts: func() map[string]int { return a.nodeRestarts(ctx) },
		Signals:      signals,
		Ready: func() {
			a.logNoNode(ctx)
			_ = daemon.Ready() // whoever started it may have gone
		},
		Worker: append([]string{"lb", "worker", "--state-dir", a.stateDir()}, a.logArgs()...),
		Log:    a.log("lb"),
	})
	if errors.Is(err, control.ErrRunning) {
		return exit.Hinted(err, "erlmcp lb stop ends it; --state-dir runs another one beside it")
	}
	return err
}

// scrapePatience is how long a scrape of metrics waits for the supervisor.
const scrapePatience = time.Second

// nodeRestarts asks the supervisor, if one runs, how often it has started each node again.
func (a *app) nodeRestarts(ctx context.Context) map[string]int {
	ctx, cancel := context.WithTimeout(ctx, scrapePatience)
	defer cancel()
	s, err := cluster.Connect(a.stateDir()).Status(ctx)
	if err != nil {
		return nil
	}
	restarts := make(map[string]int, len(s.Nodes))
	for _, n := range s.Nodes {
		restarts[n.Name] = n.Restarts
	}
	return restarts
}

func newLBWorkerCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Carry clients (started by lb serve)",
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.keepLog("lb", 0, 0) // that is for its parent
			return worker.Run(cmd.Context(), a.log("lb"))
		},
	}
}
