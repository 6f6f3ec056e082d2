package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/nearest"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/agent"
)

func newLoadtestCommand(a *app) *cobra.Command {
	var format outputFormat
	var up bool
	var size loadtestSize
	c := &cobra.Command{
		Use:   "loadtest [CONNECTIONS] [SECONDS]",
		Short: "Prove what the balancer and its nodes hold",
		Long: `loadtest opens many connections through the balancer, holds them, and judges by measurements: how evenly they
are spread, how equally fast the nodes answer, whether clients get their node again, and how fast other nodes
serve the clients of one that dies.

A connection counts once a node has answered an MCP request over it with its name. There is one client address
for every 100 connections, so that the balancer's limits apply as in real life. Agents, copies of this program,
hold the sockets; loadtest computes how many it needs.

Exit codes:

  0  pass
  1  fail
  2  wrong usage or configuration
  4  inconclusive: the load test itself was late
  5  this machine, or the system as it is, cannot do what is asked; nothing was begun

If a signal ends a load test early, it prints what it has, and ends with 128 plus the number of the signal: 130
for Ctrl-C.

Nodes of this program and of erlmcp give their name by the tool "whoami". Servers without it are tested too: then
everything is judged except how clients spread over nodes and what happens to the clients of one node.`,
		Example: `  erlmcp loadtest
  erlmcp loadtest --connections 5000 --duration 2m
  erlmcp loadtest 25000 30 --up --failover freeze
  erlmcp loadtest 1000 10 --json
  erlmcp loadtest 500000 60 --remote-agents 5 --listen 192.0.2.1:4222`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := a.loadtestSpec(size, args)
			if err != nil {
				if near := firstNear(args, commandNames(cmd)); near != "" {
					return exit.Hinted(err, "did you mean %s %s?", cmd.CommandPath(), near)
				}
				return err
			}
			if !up {
				return a.loadtest(cmd.Context(), spec, format)
			}
			k, err := a.startKeeper(cmd.Context())
			if err != nil {
				return err
			}
			// The verdict goes before trouble in taking down.
			return cmp.Or(a.loadtest(cmd.Context(), spec, format), keeperSaid(k.TakeDown()))
		},
	}
	format.addOutputFlags(c)
	flags, d := c.Flags(), loadtest.Default()
	flags.SortFlags = false
	size.addFlags(c)
	flags.BoolVar(&up, "up", false, "start cluster and balancer if they do not run, and stop them afterwards")
	flags.String("target", d.Target, "`HOST:PORT` of the balancer's TCP listener")
	flags.String("failover", "", "`FAULT` of a node: kill, freeze or none (default kill, if the cluster runs here)")
	flags.String("failover-node", "", "`NODE` to break (default the second)")
	flags.Int("ramp-rate", d.RampRate, "new connections a second, `N` at most")
	flags.Int("ping-rate", d.PingRate, "requests a second over all connections, `N` at most")
	flags.Int("sticky-sample", d.StickySample, "have `N` clients leave and come back")
	flags.String("source-ips", d.SourceIPs, "`PREFIX` of the clients' addresses, empty for one address")
	flags.Int("connections-per-source", d.ConnectionsPerSource, "connections of one address, `N` at most")
	flags.Int("agents", d.Agents, "run `N` agent processes on this machine (default computed)")
	flags.Int("remote-agents", d.RemoteAgents, "wait for `N` agents of other machines")
	flags.String("listen", d.Listen, "`HOST:PORT` where agents join")
	for flag, key := range map[string]string{
		"target": "target", "failover": "failover", "failover-node": "failover_node", "ramp-rate": "ramp_rate",
		"ping-rate": "ping_rate", "sticky-sample": "sticky_sample", "source-ips": "source_ips",
		"connections-per-source": "connections_per_source", "agents": "agents", "remote-agents": "remote_agents", "listen": "listen",
	} {
		a.bind(flags, flag, "loadtest."+key)
	}
	_ = c.RegisterFlagCompletionFunc("failover", cobra.FixedCompletions([]string{"kill", "freeze", "none"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("failover-node", a.completeNodes)
	c.AddCommand(newLoadtestAgentCommand(a), newLoadtestKeeperCommand(a), newLoadtestReportCommand(a), newLoadtestCompareCommand(a))
	return c
}

// firstNear is which of the names the first argument was meant to be, "" if it is like none.
func firstNear(args, names []string) string {
	if len(args) == 0 {
		return ""
	}
	return nearest.Find(args[0], names)
}

// loadtestSize is how much a load test is to be, by flags; zero leaves it to arguments and configuration.
type loadtestSize struct {
	given       *pflag.FlagSet
	connections int
	duration    secondsFlag
}

// addFlags gives a command the flags beside the arguments CONNECTIONS and, if it has it, SECONDS.
func (s *loadtestSize) addFlags(c *cobra.Command) {
	s.given = c.Flags()
	c.Flags().IntVar(&s.connections, "connections", 0, "hold `N` connections; the same as the argument CONNECTIONS")
	if strings.Contains(c.Use, "SECONDS") {
		c.Flags().Var(&s.duration, "duration", "hold them for this `TIME`, 60 or 2m; the same as the argument SECONDS")
	}
}

// secondsFlag is a duration that may be given as seconds.
type secondsFlag time.Duration

// Set takes seconds ("60", "0.5") or a duration ("2m").
func (f *secondsFlag) Set(text string) error {
	d, err := parseSeconds(text)
	*f = secondsFlag(d)
	return err
}

func (f *secondsFlag) String() string {
	if *f == 0 {
		return ""
	}
	return time.Duration(*f).String()
}

// Type is the name of the value.
func (f *secondsFlag) Type() string { return "seconds" }

// loadtestSpec is the configured load test with the arguments CONNECTIONS and SECONDS, or the flags for them, in place.
func (a *app) loadtestSpec(size loadtestSize, args []string) (loadtest.Spec, error) {
	c, err := a.config()
	if err != nil {
		return loadtest.Spec{}, err
	}
	s := c.Loadtest
	switch {
	case size.given.Changed("connections") && len(args) > 0:
		return s, exit.Usagef("CONNECTIONS is given twice: as %s and by --connections", args[0])
	case size.given.Changed("duration") && len(args) > 1:
		return s, exit.Usagef("SECONDS is given twice: as %s and by --duration", args[1])
	}
	if size.given.Changed("connections") {
		s.Connections = size.connections
	}
	if size.given.Changed("duration") {
		s.Duration = time.Duration(size.duration)
	}
	if len(args) > 0 {
		if s.Connections, err = strconv.Atoi(args[0]); err != nil {
			return s, exit.Usagef("CONNECTIONS: %q is not a whole number", args[0])
		}
	}
	if len(args) > 1 {
		if s.Duration, err = parseSeconds(args[1]); err != nil {
			return s, exit.Usagef("SECONDS: %q is %w", args[1], err)
		}
	}
	if err := s.Validate(); err != nil {
		return s, exit.WithCode(exit.Usage, err)
	}
	if s.RemoteAgents > 0 && os.Getenv(loadtest.TokenVariable) == "" {
		return s, exit.Hinted(exit.Usagef("remote agents need a secret to join with"),
			"set %s to the same long random text here and where the agents run", loadtest.TokenVariable)
	}
	return s, nil
}

// parseSeconds reads seconds ("60", "0.5") or a duration ("2m").
func parseSeconds(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if number, notNumber := strconv.ParseFloat(text, 64); notNumber == nil {
		d, err = time.Duration(number*float64(time.Second)), nil
	}
	if err != nil || d <= 0 || d > 365*24*time.Hour {
		return 0, errors.New("not a number of seconds above zero")
	}
	return d, nil
}

// loadtest runs a load test and prints its report.
func (a *app) loadtest(ctx context.Context, s loadtest.Spec, format outputFormat) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	limits := loadtest.Limits{
		ConnectionsPerSecond: c.LB.Limits.ConnectionsPerSecond,
		MessagesPerSecond:    c.LB.Limits.MessagesPerSecond,
		MaxPerSource:         c.LB.Limits.MaxPerSource,
	}
	if s.SourceIPs != "" { // else it is the machine itself, which has no share
		limits.MaxPerSource = c.LB.PerSource()
	}
	log := a.log("loadtest")
	report, err := loadtest.Run(ctx, s, loadtest.Options{
		System:   loadtest.Live(a.stateDir(), s.Target, limits),
		StateDir: a.stateDir(), StickyTTL: c.LB.Sticky.TTL,
		Token:    takeEnv(loadtest.TokenVariable),
		Version:  readVersion().Version,
		Log:      log,
		Progress: show.Progress(a.stderr, log),
	})
	_ = a.stderr.Erase()
	var obstacles *loadtest.PreflightError
	if errors.As(err, &obstacles) {
		return a.explainPreflight(obstacles)
	}
	if err != nil {
		return err
	}
	if err := a.print(format, report, func() error { return show.Loadtest(a.stdout, report) }); err != nil {
		return err
	}
	if report.Verdict == loadtest.Interrupted {
		return errors.Join(ctx.Err(), exit.With(verdictCode(report.Verdict))) // with the signal's code
	}
	return exit.With(verdictCode(report.Verdict))
}

// explainPreflight lists what keeps a run from starting.
func (a *app) explainPreflight(e *loadtest.PreflightError) error {
	failed := e.Requirements.Failed()
	if e.Unreachable {
		return exit.Hinted(exit.Failf("%s", failed[0].Got), "%s", failed[0].Fix)
	}
	for _, q := range failed[:len(failed)-1] {
		a.notef("%s: %s, needed: %s", q.Name, q.Got, q.Want)
		a.hintf("%s", q.Fix)
	}
	last := failed[len(failed)-1]
	code := exit.Usage
	if slices.ContainsFunc(failed, func(q judge.Result) bool { return !q.Usage }) {
		code = exit.Machine
	}
	return exit.Hinted(exit.WithCode(code, exit.Failf("%s: %s, needed: %s", last.Name, last.Got, last.Want)), "%s", last.Fix)
}

// verdictCode is the exit code that says the verdict.
func verdictCode(v loadtest.Verdict) int {
	switch v {
	case loadtest.Pass:
		return exit.OK
	case loadtest.Inconclusive:
		return exit.Inconclusive
	case loadtest.Interrupted:
		return exit.Interrupted
	}
	return exit.Failure
}

// takeEnv reads a secret from the environment, where nobody shall find it from then on.
func takeEnv(name string) string {
	value := os.Getenv(name)
	_ = os.Unsetenv(name)
	return value
}

func newLoadtestAgentCommand(a *app) *cobra.Command {
	var o agent.Options
	c := &cobra.Command{
		Use:   "agent --join URL --pin PIN",
		Short: "Hold connections for a load test of another machine",
		Long: fmt.Sprintf(`agent joins a load test that was started elsewhere with --remote-agents, and holds its share of the connections
until the test is over. The load test prints the URL and the pin to join with; by the pin, the agent knows that
it talks to that load test. Both sides need the same secret in the environment variable
%s, which is sent within TLS only.`, loadtest.TokenVariable),
		Example: `  erlmcp loadtest agent --join tls://192.0.2.1:4222 --pin sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log, o.Token, o.StateDir = a.log("agent"), takeEnv(loadtest.TokenVariable), a.stateDir()
			if o.Join == "" {
				err := agent.Run(cmd.Context(), o)
				if errors.Is(err, prefork.ErrNotChild) {
					return exit.Hinted(exit.Usagef("an agent needs a load test to join"), "--join URL, which the load test prints when it waits for agents")
				}
				return err
			}
			if o.Pin == "" {
				return exit.Hinted(exit.Usagef("an agent must know the load test that it joins"), "--pin PIN, which the load test prints when it waits for agents")
			}
			if err := agent.CheckPin(o.Pin); err != nil {
				return exit.Hinted(exit.Usagef("--pin: %v", err), "copy it from what the load test prints when it waits for agents")
			}
			if o.Token == "" {
				return exit.Hinted(exit.Usagef("there is no secret to join with"),
					"set %s to the same text as where the load test runs", loadtest.TokenVariable)
			}
			return agent.Run(cmd.Context(), o)
		},
	}
	c.Flags().StringVar(&o.Join, "join", "", "`URL` that the load test prints for agents")
	c.Flags().StringVar(&o.Pin, "pin", "", "`PIN` of the load test's certificate: sha256:…")
	c.Flags().StringVar(&o.SourceIPs, "source-ips", "", "`PREFIX` of the addresses to connect from (default what the load test plans)")
	return c
}
