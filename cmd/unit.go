package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/place"
)

// unit is a service of systemd. Both services share one state directory, through which they find each
// other.
type unit struct {
	Description               string
	Program                   string
	Sources                   []string // what the configuration was taken from
	Environment               []string // KEY=value
	Here                      bool     // some relative paths begin at the working directory of this command
	Command                   string   // line to execute
	Own                       bool     // for the service manager of a user, which can neither change the user nor mount
	User                      string
	StateDir                  string   // relative to /var/lib
	Reload                    string   // line to execute; it fails when the configuration stays as it was
	Needs, After              string   // other units
	Ports                     bool     // may listen on ports below 1024
	NoNewCode                 bool     // makes no machine code at run time
	Cgroups                   bool     // makes cgroups; RestrictNamespaces would forbid clone3, which starts a process in one
	Logs                      []string // directories to make, relative to /var/log
	Writable                  []string // directories that somebody else makes
	StartTimeout, StopTimeout int      // seconds
	Watchdog                  int      // seconds without a sign of life
	CPUWeight                 int      // of 100 for whoever says nothing
}

var unitTemplate = template.Must(template.New("unit").Parse(`# Printed by erlmcp for this program and configuration; the keys in files are read when the service starts.
#   {{.Program}}
{{- range .Sources}}
#   {{.}}{{else}}
#   no configuration file{{end}}

[Unit]
Description={{.Description}}
Documentation=man:erlmcp(1) https://github.com/erlmcp/erlmcp
{{- with .Needs}}
Wants={{.}}{{end}}
{{- if not .Own}}
After=network.target{{with .Needs}} {{.}}{{end}}{{with .After}} {{.}}{{end}}
{{- else}}{{with .After}}
After={{.}}{{end}}{{end}}

[Service]
Type=notify
NotifyAccess=main
{{- range .Environment}}
Environment={{.}}{{end}}
ExecStart={{.Command}}
{{- with .Reload}}
ExecReload={{.}}{{end}}
Restart=on-failure
RestartSec=1
KillMode=mixed
{{- if .Cgroups}}
Delegate=yes{{end}}
TimeoutStartSec={{.StartTimeout}}
TimeoutStopSec={{.StopTimeout}}
WatchdogSec={{.Watchdog}}
TimeoutAbortSec=10
OOMPolicy=continue
{{- with .CPUWeight}}
CPUWeight={{.}}{{end}}
{{- if not .Own}}
LimitNOFILE=1048576
User={{.User}}{{end}}
UMask=0077
{{- if not .Own}}
StateDirectory={{.StateDir}}
StateDirectoryMode=0700
{{- range .Logs}}
LogsDirectory={{.}}{{end}}
{{- if .Logs}}
LogsDirectoryMode=0750{{end}}
{{- range .Writable}}
ReadWritePaths=-{{.}}{{end}}
{{- if .Ports}}
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
{{- else}}
CapabilityBoundingSet={{end}}{{end}}
NoNewPrivileges=yes
{{- if not .Own}}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
{{- if not .Cgroups}}
ProtectControlGroups=yes{{end}}
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes{{end}}
LockPersonality=yes
{{- if .NoNewCode}}
MemoryDenyWriteExecute=yes{{end}}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
{{- if not .Cgroups}}
RestrictNamespaces=yes{{end}}
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy={{if .Own}}default.target{{else}}multi-user.target{{end}}
`))

func newClusterUnitCommand(a *app) *cobra.Command {
	return a.newUnitCommand("erlmcp-cluster.service", func(c *config.Config) unit {
		u := unit{
			Description: "erlmcp cluster", Watchdog: 120, // it ends all nodes
			// A start that fails takes down what it has started.
			StartTimeout: seconds(c.Cluster.StartsWithin() + c.Cluster.StopsWithin()), StopTimeout: seconds(c.Cluster.StopsWithin()),
			Cgroups: c.Cluster.Containment != cluster.ContainProcessGroup,
		}
		if c.Cluster.Runtime == cluster.RuntimeErlang {
			u.Needs = "epmd.service" // else one would end with this service, which others may use
		}
		if c.Cluster.Runtime == cluster.RuntimeEmbedded {
			u.NoNewCode = true
		}
		if dir := c.Cluster.Logs.Dir; dir != "" {
			u.Writable = []string{dir}
		} else {
			u.Logs = []string{"erlmcp"}
		}
		programs := map[string][]string{cluster.RuntimeErlang: {"erl"}, cluster.RuntimeCommand: c.Cluster.Command.Argv}
		if argv := programs[c.Cluster.Runtime]; len(argv) > 0 {
			u.Here = true
			if !onServicePath(argv[0]) {
				u.Environment = []string{"PATH=" + os.Getenv("PATH")}
			}
		}
		return u
	}, "cluster", "supervise")
}

func newLBUnitCommand(a *app) *cobra.Command {
	return a.newUnitCommand("erlmcp-lb.service", func(c *config.Config) unit {
		u := unit{
			Description: "erlmcp load balancer", Ports: true, NoNewCode: true,
			Needs:        "network-online.target",  // it may listen on an address
			After:        "erlmcp-cluster.service", // and so drains before the nodes end
			StartTimeout: 150, StopTimeout: seconds(c.LB.StopsWithin()), Watchdog: 30,
			CPUWeight: 500, // it is to be quick while nodes compute
		}
		if file := c.LB.AccessLog.File; filepath.IsAbs(file) {
			u.Writable = []string{filepath.Dir(file)}
		}
		return u
	}, "lb", "serve")
}

// newUnitCommand is the command that prints the unit of a role.
func (a *app) newUnitCommand(file string, make func(*config.Config) unit, role ...string) *cobra.Command {
	var user string
	var own, packaged bool
	name := strings.TrimSuffix(file, ".service")
	cmd := &cobra.Command{
		Use:   "unit [--user USER | --user-manager]",
		Short: "Print a unit file for systemd",
		Long: `Print a hardened unit file for systemd, for this program and the configuration in use: the files, and the
variables of this shell that are keys (ERLMCP_…). Other variables are left out. The standard error says what
the service could not read or write.

  erlmcp ` + role[0] + ` unit > /etc/systemd/system/` + file + `
  systemctl daemon-reload && systemctl enable --now ` + name + `

The service runs as USER and tells systemd when it is up and that it is alive; systemd restarts it when it hangs.
Its state directory is /var/lib/erlmcp, and the logs of nodes are in /var/log/erlmcp. With --user-manager it is a
service of your own, with the state directory that your commands use:

  erlmcp ` + role[0] + ` unit --user-manager > ~/.config/systemd/user/` + file + `
  systemctl --user daemon-reload && systemctl --user enable --now ` + name + `
  loginctl enable-linger        # so that it does not end when you log out`,
		Example: "  erlmcp " + role[0] + " unit --user erlmcp > /etc/systemd/system/" + file,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if user == "" || strings.ContainsAny(user, " \t\n%") {
				return usagef("--user: %q is not a user name", user)
			}
			if own && cmd.Flags().Changed("user") {
				return usagef("--user and --user-manager exclude each other: a service of your own runs as you")
			}
			if packaged {
				return unitTemplate.Execute(a.stdout, packagedUnit(make, role))
			}
			c, err := a.config()
			if err != nil {
				return err
			}
			program, err := os.Executable()
			if err == nil {
				program, err = filepath.EvalSymlinks(program)
			}
			if err != nil {
				return err
			}
			if once := c.Once(); once != "" {
				return usagef("a service cannot read its configuration from %s: name a file by --config", once)
			}
			u := make(c)
			u.Own, u.User, u.StateDir = own, user, "erlmcp"
			state := place.ServiceState
			if own {
				state = a.stateDir()
			}
			args, err := a.takeAlong(&u, c)
			if err != nil {
				return err
			}
			u.execute(program, state, append(args, a.logArgs()...), role)
			a.doubtUnit(&u, c, role[0])
			u.quote()
			return unitTemplate.Execute(a.stdout, u)
		},
	}
	cmd.Flags().StringVar(&user, "user", "erlmcp", "`USER` that the service runs as")
	cmd.Flags().BoolVar(&own, "user-manager", false, "for your own service manager (systemctl --user)")
	cmd.Flags().BoolVar(&packaged, "packaged", false, "as in the packages")
	_ = cmd.Flags().MarkHidden("packaged")
	return cmd
}

// packagedUnit is for every machine: where the packages put the program and the configuration, whatever that says.
func packagedUnit(make func(*config.Config) unit, role []string) unit {
	u := make(config.Default())
	u.User, u.StateDir, u.Logs = "erlmcp", "erlmcp", []string{"erlmcp"}
	if role[0] == "cluster" {
		u.NoNewCode, u.After = false, "epmd.service"
	}
	u.Sources = []string{"/etc/erlmcp/erlmcp.yaml"}
	u.execute("/usr/bin/erlmcp", place.ServiceState, []string{"--config", u.Sources[0]}, role)
	return u
}

// execute sets what the service executes.
func (u *unit) execute(program, stateDir string, args, role []string) {
	u.Program = program
	begin := []string{program, "--state-dir", stateDir}
	u.Command = commandLine(begin, args, role)
	if role[0] == "lb" {
		u.Reload = commandLine(begin, []string{"lb", "reload"})
	}
}

// takeAlong has the service find the configuration of this command. It returns flags.
func (a *app) takeAlong(u *unit, c *config.Config) (args []string, err error) {
	userFile, variables := c.Sources(os.Environ())
	if c.File != "" {
		args = append(args, "--config", c.File)
		u.Sources = append(u.Sources, c.File)
	}
	if userFile != "" {
		u.Sources = append(u.Sources, userFile)
		u.Environment = append(u.Environment, "XDG_CONFIG_HOME="+filepath.Dir(filepath.Dir(userFile)))
	}
	for _, name := range variables {
		u.Sources = append(u.Sources, name)
		u.Environment = append(u.Environment, name+"="+os.Getenv(name))
	}
	if len(variables) > 0 {
		a.notef("taken along from the environment: %s", strings.Join(variables, ", "))
	} else if !u.Here {
		return args, nil
	}
	directory := a.flags.directory
	if directory == "" {
		if directory, err = os.Getwd(); err != nil {
			return nil, fmt.Errorf("working directory: %w", err)
		}
	}
	return append(args, "--directory", directory), nil
}

// quote writes what is text as a unit file has it.
func (u *unit) quote() {
	for _, list := range [][]string{u.Environment, u.Logs, u.Writable} {
		for i, text := range list {
			list[i] = unitText(text)
		}
	}
}

func commandLine(parts ...[]string) string {
	var words []string
	for _, part := range parts {
		for _, word := range part {
			words = append(words, unitWord(word))
		}
	}
	return strings.Join(words, " ")
}

// seconds is a time for a unit file, rounded up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// unitWord quotes a word of a command in a unit file, where $ begins a variable.
func unitWord(word string) string { return unitText(strings.ReplaceAll(word, "$", "$$")) }

// unitText quotes a text in a unit file: % begins a replacement there, and blanks end words.
func unitText(text string) string {
	text = strings.ReplaceAll(text, "%", "%%")
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || strings.ContainsRune("\"'\\;", r) }) {
		return fmt.Sprintf("%q", text)
	}
	return text
}
