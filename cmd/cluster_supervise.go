package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/fits"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/daemon"
)

// newClusterSuperviseCommand is the role that "cluster start" starts.
func newClusterSuperviseCommand(a *app) *cobra.Command {
	var fromStdin bool
	cmd := &cobra.Command{
		Use:    "supervise [NODE...]",
		Short:  "Run the supervisor in the foreground",
		Hidden: true,
		Args:   cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			spec, err := a.supervisedSpec(fromStdin)
			if err != nil {
				daemon.Fail(err)
				return err
			}
			a.keepLog("cluster", spec.Logs.MaxSize, spec.Logs.Keep)
			load := a.loadConfig
			if fromStdin {
				load = nil
			}
			return a.supervise(cmd.Context(), spec, names, load)
		},
	}
	cmd.Flags().BoolVar(&fromStdin, "spec-from-stdin", false, "read the specification as JSON, not the configuration")
	return cmd
}

// supervise runs the supervisor in this process. One that somebody else looks after can read a configured specification
// anew by load, to restart in place; nil is one that is not configured.
func (a *app) supervise(ctx context.Context, spec cluster.Spec, names []string, load func() (*config.Config, error)) error {
	o := cluster.SupervisorOptions{StateDir: a.stateDir(), Names: names, NodeArgs: a.logArgs(), Log: a.log("cluster")}
	if load != nil && daemon.Foreground() {
		o.Load = func() (cluster.Spec, error) {
			c, err := load()
			if err == nil && c.Once() != "" {
				err = exit.Hinted(exit.Failf("its configuration came from %s, which cannot be read again", c.Once()), "name a file by --config; erlmcp config show prints one")
			}
			if err == nil {
				err = fits.Nodes(c)
			}
			if err != nil {
				return cluster.Spec{}, err
			}
			return a.clusterSpec(c), nil
		}
	}
	return cluster.Supervise(ctx, spec, o)
}

func (a *app) supervisedSpec(fromStdin bool) (cluster.Spec, error) {
	if fromStdin {
		return cluster.ReadSpec(a.stdin)
	}
	c, err := a.config()
	if err != nil {
		return cluster.Spec{}, err
	}
	return a.clusterSpec(c), nil
}

// logArgs are the flags that make another role log as this process does; none where that is the default.
func (a *app) logArgs() []string {
	var args []string
	if a.flags.logLevel != "info" {
		args = append(args, "--log-level", a.flags.logLevel)
	}
	if a.flags.logFormat != "text" {
		args = append(args, "--log-format", a.flags.logFormat)
	}
	return args
}
