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
)

// unit is a service of systemd. Both services share one state directory, through which they find each
// other.
type unit struct {
	Description               string
	Command                   string // line to execute
	User                      string
	StateDir                  string // relative to /var/lib
	Reload                    bool   // SIGHUP reloads
	Needs                     string // other units
	Ports                     bool   // may listen on ports below 1024
	NoNewCode                 bool   // makes no machine code at run time
	Cgroups                   bool   // makes cgroups; RestrictNamespaces would forbid clone3, which starts a process in one
	LogsDir                   string // relative to /var/log; "" is none
	Writable                  []string
	StartTimeout, StopTimeout int // seconds
}

var unitTemplate = template.Must(template.New("unit").Parse(`[Unit]
Description={{.Description}}
Documentation=https://github.com/erlmcp/erlmcp
{{- with .Needs}}
Wants={{.}}{{end}}
After=network.target{{with .Needs}} {{.}}{{end}}

[Service]
Type=notify
NotifyAccess=main
ExecStart={{.Command}}
{{- if .Reload}}
ExecReload=/bin/kill -HUP $MAINPID{{end}}
Restart=on-failure
RestartSec=1
KillMode=mixed
{{- if .Cgroups}}
Delegate=yes{{end}}
TimeoutStartSec={{.StartTimeout}}
TimeoutStopSec={{.StopTimeout}}
LimitNOFILE=1048576
User={{.User}}
UMask=0077
StateDirectory={{.StateDir}}
StateDirectoryMode=0700
{{- with .LogsDir}}
LogsDirectory={{.}}
LogsDirectoryMode=0700{{end}}
{{- range .Writable}}
ReadWritePaths={{.}}{{end}}
{{- if .Ports}}
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
{{- else}}
CapabilityBoundingSet={{end}}
NoNewPrivileges=yes
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
ProtectKernelTunables=yes
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
WantedBy=multi-user.target
`))

func newClusterUnitCommand(a *app) *cobra.Command {
	return a.newUnitCommand("erlmcp-cluster.service", func(c *config.Config) unit {
		u := unit{
			Description: "erlmcp cluster",
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
			u.Writable = []string{unitWord(dir)}
		} else {
			u.LogsDir = "erlmcp"
		}
		return u
	}, "cluster", "supervise")
}

func newLBUnitCommand(a *app) *cobra.Command {
	return a.newUnitCommand("erlmcp-lb.service", func(c *config.Config) unit {
		u := unit{
			Description: "erlmcp load balancer", Reload: true, Ports: true, NoNewCode: true,
			StartTimeout: 150, StopTimeout: seconds(c.LB.Timeouts.Drain) + 30,
		}
		if file := c.LB.AccessLog.File; filepath.IsAbs(file) {
			u.Writable = []string{unitWord(filepath.Dir(file))}
		}
		return u
	}, "lb", "serve")
}

// newUnitCommand is the command that prints the unit of a role.
func (a *app) newUnitCommand(file string, make func(*config.Config) unit, role ...string) *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "unit [--user USER]",
		Short: "Print a unit file for systemd",
		Long: `Print a hardened unit file for systemd, for this program and the configuration file in use. The
service says when it is up, and has its state directory in /var/lib/erlmcp and logs of nodes in /var/log/erlmcp.

  erlmcp ` + role[0] + ` unit > /etc/systemd/system/` + file + `
  systemctl daemon-reload && systemctl enable --now ` + strings.TrimSuffix(file, ".service"),
		Example: "  erlmcp " + role[0] + " unit --user erlmcp > /etc/systemd/system/" + file,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if user == "" || strings.ContainsAny(user, " \t\n%") {
				return usagef("--user: %q is no name of a user", user)
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
			u.User, u.StateDir = user, "erlmcp"
			words := []string{program, "--state-dir", "/var/lib/erlmcp"}
			if c.File != "" {
				words = append(words, "--config", c.File)
			}
			words = append(append(words, a.logArgs()...), role...)
			for i, word := range words {
				words[i] = unitWord(word)
			}
			u.Command = strings.Join(words, " ")
			return unitTemplate.Execute(a.stdout, u)
		},
	}
	cmd.Flags().StringVar(&user, "user", "erlmcp", "`USER` that the service runs as")
	return cmd
}

// seconds is a time for a unit file, rounded up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// unitWord quotes a word for a unit file: % and $ begin replacements there, and blanks end words.
func unitWord(word string) string {
	word = strings.NewReplacer("%", "%%", "$", "$$").Replace(word)
	if strings.ContainsAny(word, " \t\n\"'\\;") {
		return fmt.Sprintf("%q", word)
	}
	return word
}
