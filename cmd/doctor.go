package cmd

import (
	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/fits"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/loadtest/doctor"
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
	plan := fits.Plan(c, a.stateDir())
	plan.Loadtest = spec
	plan.Fits = fits.All(c)
	facts, err := doctor.Gather(&plan)
	if err != nil {
		return err
	}
	report := doctor.Examine(&plan, &facts)
	if err := a.print(format, report, func() error { return show.Doctor(a.stdout, &report) }); err != nil {
		return err
	}
	if !report.OK {
		return exit.With(exit.Failure)
	}
	return nil
}
