package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/checks"
	"github.com/erlmcp/erlmcp/cmd/internal/encode"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/live"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// healthOptions are the flags of the health command.
type healthOptions struct {
	format     outputFormat
	continuous intervalFlag
	count      int
	wait       bool
	timeout    time.Duration // of wait
	timed      bool          // timeout was given
}

func newHealthCommand(a *app) *cobra.Command {
	var o healthOptions
	c := &cobra.Command{
		Use:   "health [--continuous [SECONDS]]",
		Short: "Check nodes, balancer and connections",
		Long: `health asks every node for a TCP connection and an MCP reply, the balancer for its state and for an MCP reply
as a client gets it, and the kernel for the established connections of each node.

The exit code is that of a monitoring plugin:

  0  healthy    the balancer serves and all nodes are up
  1  degraded   clients are served, but not as planned
  2  down       no node is up, or clients get no answer
  3  unknown    it could not be found out; also wrong usage and configuration

With --continuous, or --watch, the checks repeat, and the exit code is that of the last round. On a terminal
this is a live view; q or Ctrl-C ends it. As JSON, each line has statistics of each node over the rounds so
far. As text, the statistics come at the end, on the standard error.

With --wait, the checks repeat until all is healthy or --timeout is over. Only the last round is printed, and
the exit code is that of the last round.`,
		Example: `  erlmcp health
  erlmcp health --json
  erlmcp health -o nagios
  erlmcp health --wait --timeout 30s
  erlmcp health --continuous 5
  erlmcp health --continuous --count 10 --json`,
		Args: cobra.ArbitraryArgs, // settle tells which
		RunE: func(cmd *cobra.Command, args []string) error {
			o.timed = cmd.Flags().Changed("timeout")
			if err := o.settle(args); err != nil {
				return unknownHealth(exit.Helpful(err, "erlmcp health --help"))
			}
			return a.health(cmd.Context(), o)
		},
	}
	c.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		a.running = true
		return unknownHealth(exit.Helpful(a.prepare(c.Flags()), "erlmcp health --help"))
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		a.running = true // the exit code of wrong usage is this command's own
		return unknownHealth(exit.Helpful(unknownFlag(c, err), "erlmcp health --help"))
	})
	o.format.addOutputFlags(c, "nagios", "prometheus")
	c.Flags().Var(&o.continuous, "continuous", "repeat every `[SECONDS]` (default 5) until interrupted")
	c.Flags().VarP(&o.continuous, "watch", "w", "the same as --continuous `[SECONDS]`")
	for _, name := range []string{"continuous", "watch"} {
		c.Flags().Lookup(name).NoOptDefVal = "true"
	}
	c.Flags().IntVar(&o.count, "count", 0, "end after `N` rounds")
	c.Flags().BoolVar(&o.wait, "wait", false, "repeat until healthy")
	c.Flags().DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to --wait")
	return c
}

// nagiosAsked reports whether a command line asks for the output of a monitoring plugin. It looks at the words, which
// may be wrong elsewhere.
func nagiosAsked(args []string) bool {
	health := false
	for i, word := range args {
		switch {
		case word == "health":
			health = true
		case word == "-o" || word == "--output":
			if i+1 < len(args) && args[i+1] == "nagios" {
				return health
			}
		case word == "-onagios", word == "-o=nagios", word == "--output=nagios":
			return health
		}
	}
	return false
}

// nagiosUnknown answers a monitor when the health could not be found out, as a plugin must: by one line on the standard
// output, and the code for unknown. A result that was printed stays the answer.
func (a *app) nagiosUnknown(ctx context.Context, err error) error {
	if err == nil || a.answered {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = errors.New(cause.Error()) // whose own code is not a plugin's
	}
	text := err.Error()
	if advice := exit.Hint(err); advice != "" {
		text += " (" + advice + ")"
	}
	fmt.Fprint(a.stdout, healthcheck.NagiosUnknown(text))
	return unknownHealth(err)
}

// unknownHealth gives an error the exit code of a state that could not be found out.
func unknownHealth(err error) error {
	return exit.WithCode(healthcheck.StatusUnknown.ExitCode(), err)
}

// settle checks what the flags alone cannot: "--continuous 5" arrives as a flag without a value and an
// argument.
func (o *healthOptions) settle(args []string) error {
	if o.continuous.on && o.continuous.every == 0 && len(args) > 0 {
		if err := o.continuous.Set(args[0]); err != nil {
			return exit.Usagef("--continuous: %q is %w", args[0], err)
		}
		args = args[1:]
	}
	if len(args) > 0 {
		return exit.Hinted(exit.Usagef("erlmcp health does not take the argument %q", args[0]), "erlmcp health --help")
	}
	if o.count < 0 {
		return exit.Usagef("--count: %d is not a number of rounds", o.count)
	}
	o.continuous.on = o.continuous.on || o.count > 0
	switch {
	case o.timed && !o.wait:
		return exit.Usagef("--timeout is for --wait")
	case o.wait && o.timeout <= 0:
		return exit.Usagef("--timeout: %v is not a time to wait", o.timeout)
	case o.wait && o.continuous.on:
		return exit.Usagef("--wait ends by itself: it goes with neither --continuous nor --count")
	}
	return nil
}

// health makes one round of checks, or more, and ends with the exit code of the last.
func (a *app) health(ctx context.Context, o healthOptions) error {
	collector, err := a.healthCollector(ctx)
	if err != nil {
		return unknownHealth(err)
	}
	if o.wait {
		return a.waitHealthy(ctx, collector, o)
	}
	interval := collector.Spec.Interval
	if o.continuous.every > 0 {
		interval = o.continuous.every
	}
	rounds := 1
	if o.continuous.on {
		rounds = o.count
	}
	watch := func(ctx context.Context, show func(healthcheck.Report) error) (healthcheck.Report, error) {
		return collector.Watch(ctx, interval, rounds, show)
	}
	if !o.continuous.on {
		last, err := watch(ctx, func(r healthcheck.Report) error { return a.printHealth(o, r) })
		if err != nil {
			return unknownHealth(err)
		}
		return exit.With(last.Status.ExitCode())
	}
	var history healthcheck.History
	var last healthcheck.Report
	if o.format == "table" && a.stdout.Terminal() != nil {
		last, err = live.Watch(ctx, a.stdin, a.stdout, watch, &history, interval)
	} else {
		last, err = watch(ctx, func(r healthcheck.Report) error {
			history.Add(&r)
			return a.printHealth(o, r)
		})
	}
	if err != nil {
		return unknownHealth(err)
	}
	if o.format == "table" && history.Rounds > 0 {
		fmt.Fprint(a.stderr, live.Summary(a.stderr, last, &history))
	}
	return exit.With(last.Status.ExitCode())
}

// waitInterval is between the rounds of --wait.
const waitInterval = 500 * time.Millisecond

// errHealthy ends the rounds of --wait.
var errHealthy = errors.New("healthy")

// waitHealthy makes rounds until one is healthy or the time is up, and prints the last.
func (a *app) waitHealthy(ctx context.Context, c *healthcheck.Collector, o healthOptions) error {
	limited, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	last, err := c.Watch(limited, waitInterval, 0, func(r healthcheck.Report) error {
		if r.Status == healthcheck.StatusHealthy {
			return errHealthy
		}
		return nil
	})
	if last.Schema != "" { // a round was finished
		if err := a.printHealth(o, last); err != nil {
			return unknownHealth(err)
		}
	}
	switch {
	case errors.Is(err, errHealthy):
		return nil
	case ctx.Err() != nil: // interrupted
		return exit.With(last.Status.ExitCode())
	}
	advice := "erlmcp cluster status shows the nodes, erlmcp lb status the balancer"
	if !last.LoadBalancer.Running {
		advice = "erlmcp up starts cluster and balancer"
	}
	return exit.Hinted(exit.WithCode(last.Status.ExitCode(), fmt.Errorf("not healthy within %v", o.timeout)), "%s", advice)
}

// printHealth prints one round: of many, each as one line of JSON, one YAML document or one block of
// text.
func (a *app) printHealth(o healthOptions, r healthcheck.Report) error {
	switch o.format {
	case "nagios":
		a.answered = true
		_, err := fmt.Fprint(a.stdout, r.Nagios())
		return err
	case "prometheus":
		_, err := fmt.Fprint(a.stdout, r.Prometheus())
		return err
	}
	if o.continuous.on {
		switch o.format {
		case "json":
			return encode.JSONLine(a.stdout, r)
		case "yaml":
			fmt.Fprintln(a.stdout, "---")
		}
	}
	return a.print(o.format, r, func() error {
		text := show.Health(a.stdout, r)
		if o.continuous.on {
			text += "\n"
		}
		_, err := fmt.Fprint(a.stdout, text)
		return err
	})
}

// healthCollector is what checks the system of the state directory.
func (a *app) healthCollector(ctx context.Context) (*healthcheck.Collector, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	return checks.Collector(ctx, c, a.stateDir(), func(ctx context.Context) []topology.Node {
		return a.operator().RunningNodes(ctx, c.Cluster.Nodes)
	})
}
