// Package systemd writes the units by which systemd runs a balancer and a cluster, and tells what such a service will not
// be able to do.
package systemd

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/place"
)

// Unit is a service of systemd. Both services share one state directory, through which they find each
// other.
type Unit struct {
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

	Taken  []string // variables of this environment that the service has as well
	Doubts []Doubt
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

// Role is what a service does.
type Role struct {
	Service string   // its name, to which systemd adds ".service"
	words   []string // the command it executes
	unit    func(*config.Config) Unit
}

// The roles there are.
var (
	Cluster = Role{"erlmcp-cluster", []string{"cluster", "supervise"}, clusterUnit}
	LB      = Role{"erlmcp-lb", []string{"lb", "serve"}, lbUnit}
)

// Group is the command that has the commands of a role: "cluster" or "lb".
func (r *Role) Group() string { return r.words[0] }

func clusterUnit(c *config.Config) Unit {
	u := Unit{
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
}

func lbUnit(c *config.Config) Unit {
	u := Unit{
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
}

// Options are about one service.
type Options struct {
	Program   string // to execute
	Own       bool   // for the service manager of a user
	User      string // that the service runs as, unless it is Own
	StateDir  string
	Directory string   // that relative paths of the configuration begin at; "" is the working directory
	LogArgs   []string // flags that say how to log
}

// Unit is the service that does this with a configuration, which it finds where this process found it. What an error comes
// with says which variables were taken.
func (r *Role) Unit(c *config.Config, o *Options) (Unit, error) {
	u := r.unit(c)
	u.Own, u.User, u.StateDir = o.Own, o.User, "erlmcp"
	args, err := u.takeAlong(c, o.Directory)
	if err != nil {
		return u, err
	}
	u.execute(o.Program, o.StateDir, append(args, o.LogArgs...), r.words)
	u.doubt(c, r.Group())
	u.quote()
	return u, nil
}

// Packaged is for every machine: where the packages put the program and the configuration, whatever that says.
func (r *Role) Packaged() *Unit {
	u := r.unit(config.Default())
	u.User, u.StateDir, u.Logs = "erlmcp", "erlmcp", []string{"erlmcp"}
	if r.Group() == "cluster" {
		u.NoNewCode, u.After = false, "epmd.service"
	}
	u.Sources = []string{"/etc/erlmcp/erlmcp.yaml"}
	u.execute("/usr/bin/erlmcp", place.ServiceState, []string{"--config", u.Sources[0]}, r.words)
	return &u
}

// Write writes the file of the unit.
func (u *Unit) Write(w io.Writer) error { return unitTemplate.Execute(w, u) }

// execute sets what the service executes.
func (u *Unit) execute(program, stateDir string, args, role []string) {
	u.Program = program
	begin := []string{program, "--state-dir", stateDir}
	u.Command = commandLine(begin, args, role)
	if role[0] == "lb" {
		u.Reload = commandLine(begin, []string{"lb", "reload"})
	}
}

// takeAlong has the service find the configuration of this process. It returns flags.
func (u *Unit) takeAlong(c *config.Config, directory string) (args []string, err error) {
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
	if u.Taken = variables; len(variables) == 0 && !u.Here {
		return args, nil
	}
	if directory == "" {
		if directory, err = os.Getwd(); err != nil {
			return nil, fmt.Errorf("working directory: %w", err)
		}
	}
	return append(args, "--directory", directory), nil
}

// quote writes what is text as a unit file has it.
func (u *Unit) quote() {
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
