package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/healthcheck"
)

// healthOptions are the flags of the health command.
type healthOptions struct {
	format     outputFormat
	continuous continuousFlag
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
		Long: `health asks every node for a TCP connection and an MCP reply, the balancer for its state and for an
MCP reply as a client gets it, and the kernel for the established connections of each node.

The exit code is the one of a monitoring plugin:

  0  healthy    the balancer serves and all nodes are up
  1  degraded   clients are served, but not as planned
  2  down       no node is up, or clients get no answer
  3  unknown    it could not be found out; also wrong usage and configuration

With --continuous it is the one of the last round; on a terminal this is a live view, which q or Ctrl-C
ends. Every line of JSON has statistics of each node over the rounds so far, and text ends with them on
the standard error.

With --wait it is the one of the last round, too: the checks are repeated until all is healthy or
--timeout is over, and the last round alone is printed.`,
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
				return unknownHealth(err)
			}
			return a.health(cmd.Context(), o)
		},
	}
	c.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		a.running = true
		return unknownHealth(hinted(a.prepare(c.Flags()), "erlmcp health --help"))
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		a.running = true // the exit code of wrong usage is this command's own
		return unknownHealth(hinted(err, "erlmcp health --help"))
	})
	o.format.addOutputFlags(c, "nagios", "prometheus")
	c.Flags().Var(&o.continuous, "continuous", "repeat every `[SECONDS]` (default 5) until interrupted")
	c.Flags().Lookup("continuous").NoOptDefVal = "true"
	c.Flags().IntVar(&o.count, "count", 0, "end after `N` rounds")
	c.Flags().BoolVar(&o.wait, "wait", false, "repeat until healthy")
	c.Flags().DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to --wait")
	return c
}

// unknownHealth gives an error the exit code of a state that could not be found out.
func unknownHealth(err error) error {
	return withCode(healthcheck.StatusUnknown.ExitCode(), err)
}

// settle checks what the flags alone cannot: "--continuous 5" arrives as a flag without a value and an
// argument.
func (o *healthOptions) settle(args []string) error {
	if o.continuous.on && o.continuous.every == 0 && len(args) > 0 {
		if err := o.continuous.Set(args[0]); err != nil {
			return usagef("--continuous: %q is %w", args[0], err)
		}
		args = args[1:]
	}
	if len(args) > 0 {
		return hinted(usagef("erlmcp health does not take the argument %q", args[0]), "erlmcp health --help")
	}
	if o.count < 0 {
		return usagef("--count: %d is not a number of rounds", o.count)
	}
	o.continuous.on = o.continuous.on || o.count > 0
	switch {
	case o.timed && !o.wait:
		return usagef("--timeout is for --wait")
	case o.wait && o.timeout <= 0:
		return usagef("--timeout: %v is not a time to wait", o.timeout)
	case o.wait && o.continuous.on:
		return usagef("--wait ends by itself: it goes with neither --continuous nor --count")
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
		return exitWith(last.Status.ExitCode())
	}
	var history healthcheck.History
	var last healthcheck.Report
	if o.format == "table" && a.stdout.Terminal() != nil {
		last, err = a.watchLive(ctx, watch, &history, interval)
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
		fmt.Fprint(a.stderr, a.healthSummary(last, &history))
	}
	return exitWith(last.Status.ExitCode())
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
		return exitWith(last.Status.ExitCode())
	}
	return withCode(last.Status.ExitCode(), fmt.Errorf("not healthy within %v", o.timeout))
}

// printHealth prints one round: of many, each as one line of JSON, one YAML document or one block of
// text.
func (a *app) printHealth(o healthOptions, r healthcheck.Report) error {
	switch o.format {
	case "nagios":
		_, err := fmt.Fprint(a.stdout, r.Nagios())
		return err
	case "prometheus":
		_, err := fmt.Fprint(a.stdout, r.Prometheus())
		return err
	}
	if o.continuous.on {
		switch o.format {
		case "json":
			enc := json.NewEncoder(a.stdout)
			enc.SetEscapeHTML(false)
			return enc.Encode(r)
		case "yaml":
			fmt.Fprintln(a.stdout, "---")
		}
	}
	return a.print(o.format, r, func() error {
		text := a.healthText(r)
		if o.continuous.on {
			text += "\n"
		}
		_, err := fmt.Fprint(a.stdout, text)
		return err
	})
}

// continuousFlag is the value of --continuous: absent, without a value, or with seconds.
type continuousFlag struct {
	on    bool
	every time.Duration // 0 leaves it to the configuration
}

// Set takes seconds ("5", "0.5") or a duration ("500ms").
func (f *continuousFlag) Set(text string) error {
	if on, err := strconv.ParseBool(text); err == nil && len(text) > 1 {
		*f = continuousFlag{on: on}
		return nil
	}
	every, err := time.ParseDuration(text)
	if seconds, notNumber := strconv.ParseFloat(text, 64); notNumber == nil {
		every, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil || every < 100*time.Millisecond || every > 24*time.Hour {
		return errors.New("not seconds from 0.1 to 86400")
	}
	*f = continuousFlag{true, every}
	return nil
}

func (f *continuousFlag) String() string {
	if f.every > 0 {
		return f.every.String()
	}
	return strconv.FormatBool(f.on)
}

// Type makes the help text show no more than the name of the value.
func (f *continuousFlag) Type() string { return "bool" }
