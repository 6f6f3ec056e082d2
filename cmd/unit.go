package cmd

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/systemd"
	"github.com/erlmcp/erlmcp/internal/place"
)

// newUnitCommand is the command that prints the unit of a role.
func newUnitCommand(a *app, role *systemd.Role) *cobra.Command {
	var o systemd.Options
	var packaged bool
	name, file := role.Service, role.Service+".service"
	cmd := &cobra.Command{
		Use:   "unit [--user USER | --user-manager]",
		Short: "Print a unit file for systemd",
		Long: `Print a hardened unit file for systemd, for this program and the configuration in use: the files, and the
variables of this shell that are keys (ERLMCP_…). Other variables are left out. The standard error says what
the service could not read or write.

  erlmcp ` + role.Group() + ` unit > /etc/systemd/system/` + file + `
  systemctl daemon-reload && systemctl enable --now ` + name + `

The service runs as USER and tells systemd when it is up and that it is alive; systemd restarts it when it hangs.
Its state directory is /var/lib/erlmcp, and the logs of nodes are in /var/log/erlmcp. With --user-manager it is a
service of your own, with the state directory that your commands use:

  erlmcp ` + role.Group() + ` unit --user-manager > ~/.config/systemd/user/` + file + `
  systemctl --user daemon-reload && systemctl --user enable --now ` + name + `
  loginctl enable-linger        # so that it does not end when you log out`,
		Example: "  erlmcp " + role.Group() + " unit --user erlmcp > /etc/systemd/system/" + file,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.User == "" || strings.ContainsAny(o.User, " \t\n%") {
				return exit.Usagef("--user: %q is not a user name", o.User)
			}
			if o.Own && cmd.Flags().Changed("user") {
				return exit.Usagef("--user and --user-manager exclude each other: a service of your own runs as you")
			}
			if packaged {
				return role.Packaged().Write(a.stdout)
			}
			c, err := a.config()
			if err != nil {
				return err
			}
			if o.Program, err = os.Executable(); err == nil {
				o.Program, err = filepath.EvalSymlinks(o.Program)
			}
			if err != nil {
				return err
			}
			if once := c.Once(); once != "" {
				return exit.Usagef("a service cannot read its configuration from %s: name a file by --config", once)
			}
			o.StateDir = place.ServiceState
			if o.Own {
				o.StateDir = a.stateDir()
			}
			o.Directory, o.LogArgs = a.flags.directory, a.logArgs()
			u, err := role.Unit(c, &o)
			if len(u.Taken) > 0 {
				a.notef("taken along from the environment: %s", strings.Join(u.Taken, ", "))
			}
			if err != nil {
				return err
			}
			for _, d := range u.Doubts {
				a.warnf("%s", d.Text)
				a.hintf("%s", d.Advice)
			}
			return u.Write(a.stdout)
		},
	}
	cmd.Flags().StringVar(&o.User, "user", "erlmcp", "`USER` that the service runs as")
	cmd.Flags().BoolVar(&o.Own, "user-manager", false, "for your own service manager (systemctl --user)")
	cmd.Flags().BoolVar(&packaged, "packaged", false, "as in the packages")
	_ = cmd.Flags().MarkHidden("packaged")
	return cmd
}
