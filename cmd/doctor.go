package cmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/judge"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/loadtest/doctor"
	"github.com/erlmcp/erlmcp/proxy"
)

func newDoctorCommand(a *app) *cobra.Command {
	var format outputFormat
	var size loadtestSize
	c := &cobra.Command{
		Use:   "doctor [CONNECTIONS]",
		Short: "Find what this machine lacks to hold many connections",
		Long: `doctor looks at everything that balancer, nodes and load test need on this machine to hold CONNECTIONS (by
default those of the load test): descriptors, ports and addresses of clients, memory, limits of the kernel, of
control groups and of the configuration, room for logs, the addresses to listen on, and tools. It changes
nothing, and prints the command that fixes what it finds.

Exit codes:

  0  the plan can work; warnings do not count
  1  it cannot
  2  wrong usage or configuration`,
		Example: `  erlmcp doctor
  erlmcp doctor 500000
  erlmcp doctor --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.doctor(size, args, format) },
	}
	size.addFlags(c)
	format.addOutputFlags(c)
	return c
}

// doctor prints what it has found.
func (a *app) doctor(size loadtestSize, args []string, format outputFormat) error {
	spec, err := a.loadtestSpec(size, args)
	if err != nil {
		return err
	}
	c, err := a.config()
	if err != nil {
		return err
	}
	plan := doctorPlan(c, a.stateDir())
	plan.Loadtest = spec
	plan.Fits = fits(c)
	facts, err := doctor.Gather(&plan)
	if err != nil {
		return err
	}
	report := doctor.Examine(&plan, &facts)
	if err := a.print(format, report, func() error { return a.printDoctor(&report) }); err != nil {
		return err
	}
	if !report.OK {
		return exitWith(exitFailure)
	}
	return nil
}

// doctorPlan is what the configuration asks of the machine.
func doctorPlan(c *config.Config, stateDir string) doctor.Plan {
	logs := c.Cluster.Logs
	p := doctor.Plan{
		MaxConnections: c.LB.MaxConnections, NodeCap: c.LB.NodeCap(), Nodes: len(c.LB.Nodes),
		Erlang:    c.Cluster.Runtime == cluster.RuntimeErlang,
		ICMP:      slices.Contains(c.Health.Kinds, "icmp"),
		LogBytes:  int64(logs.MaxSize) * int64(logs.Keep+1) * int64(len(c.Cluster.Nodes)),
		OneSource: c.LB.Source != proxy.SourceAuto && !strings.Contains(c.LB.Source, "/"),
		StateDir:  stateDir,
	}
	for _, l := range c.LB.Listen.All() {
		if l.Address != "" {
			p.Listeners = append(p.Listeners, doctor.Listener{
				Name: "lb.listen." + l.Name, Address: l.Address, Daemon: "lb",
				Key: "ERLMCP_LB_LISTEN_" + strings.ToUpper(l.Name),
			})
		}
	}
	for _, n := range c.Cluster.Nodes {
		for _, port := range n.Ports() {
			p.Listeners = append(p.Listeners, doctor.Listener{
				Name: n.Name + " " + port.Transport, Address: port.Address, Daemon: "cluster",
			})
		}
	}
	return p
}

var verdictStyles = map[judge.Verdict]term.Style{judge.OK: term.Green, judge.Unjudged: term.Dim, judge.Warn: term.Yellow, judge.Fail: term.Red}

// printDoctor prints the findings, and below them, gravest first, what to do.
func (a *app) printDoctor(r *doctor.Report) error {
	level := func(v judge.Verdict) string { return a.stdout.Paint(verdictStyles[v], doctor.Levels[v]) }
	t := a.stdout.Table("CHECK", "RESULT", "FOUND", "NEEDED")
	for _, f := range r.Findings {
		t.Row(f.Name, level(f.Verdict), f.Got, f.Want)
	}
	var b strings.Builder
	b.WriteString(t.String() + "\n")
	for _, grave := range []judge.Verdict{judge.Fail, judge.Warn} {
		for _, f := range r.Findings {
			if f.Verdict == grave {
				fmt.Fprintf(&b, "%s  %s: %s, needed: %s\n  %s\n", level(grave), f.Name, f.Got, f.Want, f.Fix)
			}
		}
	}
	verdict := fmt.Sprintf("this machine can hold %d connections", r.Connections)
	if !r.OK {
		verdict = fmt.Sprintf("this machine cannot hold %d connections: %d to fix", r.Connections, r.Problems)
	}
	if r.Warnings > 0 {
		verdict += fmt.Sprintf(" (warnings: %d)", r.Warnings)
	}
	b.WriteString(verdict + "\n")
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}
