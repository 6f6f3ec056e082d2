package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/report"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

func newLoadtestCommand(a *app) *cobra.Command {
	var format outputFormat
	var up bool
	var size loadtestSize
	var remote meeting
	var dir string
	c := &cobra.Command{
		Use:   "loadtest [TARGET] [CONNECTIONS] [SECONDS]",
		Short: "Prove what MCP servers and their balancer hold",
		Long: `loadtest opens many connections to an MCP server, holds them, asks at an even rate, and judges by measurements:
whether all are served, how evenly they are spread over nodes, how equally fast these answer, whether clients get their
node again, and how fast other nodes serve the clients of one that dies.

TARGET is the server:

  http://HOST:PORT/PATH       Streamable HTTP; https within TLS
  http://HOST:PORT/PATH/sse   HTTP with SSE, as of 2024-11-05; sse+http:// where the path ends otherwise
  ws://HOST:PORT/PATH         WebSocket; wss within TLS
  HOST:PORT                   a message a line over TCP

Without TARGET it is the balancer of this machine. Servers of other machines need --allow-remote-target. CONNECTIONS are
held for SECONDS, with a request of each 20 times a second at most, and 5,000 in all (--ping-rate).

A connection counts once an MCP request over it was answered. On loopback there is one client address for every 100
connections, so that limits of a balancer apply as in real life. Agents, copies of this program, hold the sockets;
loadtest computes how many it needs.

Any server will do. Which node answered is known by the tool "whoami", or by the field X-Served-By of responses, which the
balancer of this program adds. Without them everything is judged except how clients spread over nodes and what happens to
the clients of one node.

--want adds lines of your own to the verdict: any figure of the report, an operator and a value. --find-limit looks
for the highest rate at which limits hold, which takes three minutes or more; --rates tries given rates, each for
SECONDS. Both come after the hold, and no node is broken then unless --failover names a fault.

Exit codes:

  0  pass
  1  fail, or nobody answers at TARGET
  2  wrong usage or configuration, or TARGET speaks something else; nothing was begun
  4  inconclusive: the load test, not the system, was the limit
  5  this machine, or the system as it is, cannot do what is asked; nothing was begun

If a signal ends a load test early, it prints what it has, and ends with 128 plus the number of the signal: 130
for Ctrl-C.`,
		Example: `  erlmcp loadtest http://127.0.0.1:3000/mcp 200 30
  erlmcp loadtest http://127.0.0.1:3000/mcp 200 30 --tool echo --args '{"message":"{{$uuid}}"}' --report reports/today
  erlmcp loadtest wss://mcp.example.org/mcp 500 60 --allow-remote-target --token-file mcp.token
  erlmcp loadtest 25000 30 --up --failover freeze
  erlmcp loadtest 1000 10 --json
  erlmcp loadtest 10000 30 --want 'latency.p99<=50ms' --want 'errors<=0.1%'
  erlmcp loadtest 1000 10 --find-limit 'p99<=50ms,errors<=0.1%'
  erlmcp loadtest 1000 10 --rates 1000,2000,4000
  erlmcp loadtest 1000 10 --mix tcp=70,http=20,sse=5,ws=5 --json
  erlmcp loadtest 500000 60 --remote-agents 5 --listen 192.0.2.1:4222 --agents-token-file loadtest.token`,
		Args: cobra.MaximumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && strings.Contains(args[0], ":") {
				if err := a.setTarget(cmd.Flags(), args[0]); err != nil {
					return err
				}
				args = args[1:]
			}
			if len(args) > 2 {
				return exit.Usagef("%s: accepts at most 2 arguments, received %d", cmd.CommandPath(), len(args))
			}
			if slices.Contains(size.wants, "help") {
				return a.printFigures()
			}
			spec, err := a.loadtestSpec(size, args)
			if err != nil {
				if near := firstNear(args, commandNames(cmd)); near != "" {
					return exit.Hinted(err, "did you mean %s %s?", cmd.CommandPath(), near)
				}
				return err
			}
			token, bus, err := remote.options(&spec)
			if err != nil {
				return err
			}
			if !up {
				return a.loadtest(cmd.Context(), spec, token, bus, dir, format)
			}
			k, err := a.startKeeper(cmd.Context())
			if err != nil {
				return err
			}
			// The verdict goes before trouble in taking down.
			return cmp.Or(a.loadtest(cmd.Context(), spec, token, bus, dir, format), keeperSaid(k.TakeDown()))
		},
	}
	flags, d := c.Flags(), loadtest.Default()
	flags.SortFlags = false
	flags.String("target", d.Target, "where clients connect: `URL` or HOST:PORT; the same as the argument TARGET")
	size.addFlags(c)
	flags.BoolVar(&up, "up", false, "start cluster and balancer if they do not run, and stop them afterwards")
	flags.String("mix", "", "`SHARES` of the connections by transport, over the balancer's listeners, such as tcp=70,http=20,sse=5,ws=5")
	flags.String("driver", "", "`DRIVER`: socket, vegeta, or a closed loop of wrk, ab or hey, or burst for one of these (default vegeta over Streamable HTTP, else socket)")
	flags.StringArrayVar(&size.headers, "header", nil, "`FIELD` of each request over HTTP, \"Name: value\"; a token goes into a file (--token-file)")
	flags.String("token-file", "", "`FILE` with the bearer token of each request over HTTP")
	flags.String("server-name", "", "`NAME` in the target's certificate (default its host)")
	flags.String("ca", "", "`FILE` of certificates to trust in place of the system's")
	flags.Bool("insecure", false, "trust any certificate")
	flags.String("http-version", d.HTTPVersion, "`VERSION` of HTTP: 1.1, or 2 with the driver vegeta")
	flags.String("era", "", "`ERA` of MCP over HTTP: session or stateless (default session, where the server has it)")
	flags.Bool("allow-remote-target", false, "load a target that is not on this machine")
	flags.String("tool", "", "`NAME` of the tool that clients call (default what the server is known by)")
	flags.String("args", "", "arguments of the tool: a `JSON` object, or @FILE")
	flags.String("scenario", "", "`FILE` of steps that clients ask")
	flags.StringVar(&dir, "report", "", "write the report as a page, Markdown, CSV, JSON and metrics into the directory `DIR`")
	flags.StringArrayVar(&size.wants, "want", nil, "fail unless `EXPR` holds, such as latency.p99<=50ms; \"help\" lists all figures")
	flags.String("find-limit", "", "find the highest rate at which `LIMITS` hold, such as p99<=50ms,errors<=0.1%")
	flags.String("rates", "", "try these `RATES` of requests a second one after the other, such as 1000,2000,4000")
	flags.String("failover", "", "`FAULT`: kill, freeze, cut or drain a node, rolling restarts all, or none (default kill, if the cluster runs here and no rates are tried)")
	flags.String("failover-node", "", "`NODE` to break (default the second)")
	flags.Int("ramp-rate", d.RampRate, "new connections a second, `N` at most")
	flags.Int("ping-rate", d.PingRate, "requests a second over all connections, `N` at most")
	flags.Int("sticky-sample", d.StickySample, "have `N` clients leave and come back")
	flags.String("source-ips", d.SourceIPs, "`PREFIX` of the clients' addresses, empty for one address")
	flags.Int("connections-per-source", d.ConnectionsPerSource, "connections of one address, `N` at most")
	flags.Int("agents", d.Agents, "run `N` agent processes on this machine (default computed)")
	flags.Int("remote-agents", d.RemoteAgents, "wait for `N` agents of other machines")
	flags.String("listen", d.Listen, "`HOST:PORT` where agents join")
	remote.addFlags(flags, "agents-token-file")
	format.addOutputFlags(c)
	for flag, key := range map[string]string{
		"target": "target", "mix": "mix", "driver": "driver", "token-file": "token_file",
		"server-name": "server_name", "ca": "ca", "insecure": "insecure", "http-version": "http_version", "era": "era",
		"allow-remote-target": "allow_remote_target", "tool": "tool", "args": "args", "scenario": "scenario",
		"find-limit": "find_limit", "rates": "rates", "failover": "failover", "failover-node": "failover_node", "ramp-rate": "ramp_rate",
		"ping-rate": "ping_rate", "sticky-sample": "sticky_sample", "source-ips": "source_ips",
		"connections-per-source": "connections_per_source", "agents": "agents", "remote-agents": "remote_agents", "listen": "listen",
	} {
		a.bind(flags, flag, "loadtest."+key)
	}
	_ = c.RegisterFlagCompletionFunc("want", completeWants)
	_ = c.RegisterFlagCompletionFunc("find-limit", cobra.FixedCompletions([]string{"p50<=", "p90<=", "p95<=", "p99<=", "p999<=", "errors<="}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
	_ = c.RegisterFlagCompletionFunc("driver", cobra.FixedCompletions([]string{"socket", "vegeta", "burst", "hey", "wrk", "ab"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("era", cobra.FixedCompletions([]string{"session", "stateless"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("http-version", cobra.FixedCompletions([]string{"1.1", "2"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("failover", cobra.FixedCompletions([]string{"kill", "freeze", "cut", "drain", "rolling", "none"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("failover-node", a.completeNodes)
	c.AddCommand(newLoadtestAgentCommand(a), newLoadtestKeeperCommand(a), newLoadtestBurstCommand(a), newLoadtestReportCommand(a),
		newLoadtestCompareCommand(a))
	return c
}

// setTarget takes the argument TARGET for the flag.
func (a *app) setTarget(flags *pflag.FlagSet, text string) error {
	if flags.Changed("target") {
		return exit.Usagef("TARGET is given twice: as %s and by --target", text)
	}
	return flags.Set("target", text)
}

// firstNear is which of the names the first argument was meant to be, "" if it is like none.
func firstNear(args, names []string) string {
	if len(args) == 0 {
		return ""
	}
	return nearest.Find(args[0], names)
}

// loadtestSize is how much a load test is to be, by flags, and what it says to servers; zero leaves it to arguments and
// configuration.
type loadtestSize struct {
	given       *pflag.FlagSet
	headers     []string // beside those of the configuration, as are the wants
	wants       []string
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
	s.Headers, s.Want = slices.Concat(s.Headers, size.headers), slices.Concat(s.Want, size.wants)
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
func (a *app) loadtest(ctx context.Context, s loadtest.Spec, token string, bus loadtest.Bus, dir string, format outputFormat) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	limits := system.Limits{
		ConnectionsPerSecond: c.LB.Limits.ConnectionsPerSecond,
		MessagesPerSecond:    c.LB.Limits.MessagesPerSecond,
		MaxPerSource:         c.LB.Limits.MaxPerSource,
	}
	if s.SourceIPs != "" { // else it is the machine itself, which has no share
		limits.MaxPerSource = c.LB.PerSource()
	}
	if dir != "" { // rather now than when there is something to lose
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return exit.WithCode(exit.Usage, fmt.Errorf("--report: %w", err))
		}
	}
	log := a.log("loadtest")
	result, err := loadtest.Run(ctx, s, loadtest.Options{
		System:   system.Live(a.stateDir(), s.Target, limits, a.operator()),
		StateDir: a.stateDir(), StickyTTL: c.LB.Sticky.TTL,
		Token:    token,
		Bus:      bus,
		Version:  readVersion().Version,
		Command:  show.Command(os.Args),
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
	var failed error
	if dir != "" {
		if failed = report.Write(dir, result); failed == nil {
			a.notef("the report is in %s", filepath.Join(dir, "report.html"))
		}
	}
	if err := a.print(format, result, func() error { return show.Loadtest(a.stdout, result) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if result.Verdict == loadtest.Interrupted {
		return errors.Join(ctx.Err(), exit.With(verdictCode(result.Verdict))) // with the signal's code
	}
	return exit.With(verdictCode(result.Verdict))
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
