package cmd

import (
	"cmp"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
)

func newConfigPathsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "paths",
		Short: "Print where everything lies",
		Long: `Print where the configuration, the state directory and all logs are. Logs of nodes that run are where the
cluster was started with, whatever is configured by now.

A state directory that was chosen, by --state-dir or ERLMCP_STATE_DIR, has the logs in it. The default one does
not outlive a restart of the machine, so logs are then in $XDG_STATE_HOME/erlmcp or ~/.local/state/erlmcp, or
for root in /var/log/erlmcp, if these can be used.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			state, spec := a.stateDir(), a.clusterSpec(c)
			if running, err := cluster.Connect(state).Spec(cmd.Context()); err == nil {
				spec = running
			}
			lines := [][2]string{
				{"configuration", cmp.Or(c.File, "defaults")},
				{"state directory", state},
				{"log of the cluster", a.daemonLog("cluster")},
				{"logs of nodes", filepath.Join(cluster.LogDir(state, spec), "*.log")},
				{"log of the balancer", a.daemonLog("lb")},
			}
			if file := c.LB.AccessLog.File; file != "" {
				lines = append(lines, [2]string{"access log", file})
			}
			if spec.Runtime == cluster.RuntimeErlang {
				lines = append(lines, [2]string{"files of Erlang nodes", filepath.Join(state, "erlang")})
			}
			for _, line := range lines {
				if _, err := fmt.Fprintf(a.stdout, "%-22s %s\n", line[0], line[1]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
