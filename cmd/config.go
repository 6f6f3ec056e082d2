package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/cmd/internal/encode"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/proxy/master"
)

func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Write, show or check the configuration",
		Long: `The configuration is optional. Values come from the first of these that has one: flags, environment variables,
the file of --config (ERLMCP_CONFIG) or else ./erlmcp.yaml, the user's $XDG_CONFIG_HOME/erlmcp/erlmcp.yaml,
the machine's /etc/erlmcp/erlmcp.yaml, the defaults. "erlmcp config paths" shows which of these files there
are.

Every key has a variable: lb.limits.messages_per_second is ERLMCP_LB_LIMITS_MESSAGES_PER_SECOND.
Separate the elements of a list by commas, or write them in brackets as in YAML.`,
	}
	cmd.AddCommand(newConfigInitCommand(a), newConfigShowCommand(a), newConfigCheckCommand(a), newConfigPathsCommand(a), newConfigSchemaCommand(a))
	return cmd
}

func newConfigInitCommand(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "init [FILE] [--force]",
		Short: "Write a file with all keys, their defaults and what they are for",
		Long: `Write a configuration file with all keys, their defaults and what they are for. FILE is ./erlmcp.yaml by
default; - is the standard output.`,
		Example: `  erlmcp config init
  erlmcp config init - | less`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := config.FileName
			if len(args) == 1 {
				name = args[0]
			}
			if name == "-" {
				a.changes.format = "table" // the file itself is what is printed
				return config.Default().Print(a.stdout, config.Explained)
			}
			if err := writeConfig(name, force); err != nil {
				return err
			}
			a.did(change{Action: "write", Kind: "file", Names: []string{name}}, "wrote %s", name)
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite an existing file")
	a.addAnswerFlags(cmd)
	return cmd
}

// writeConfig writes the commented defaults to a file that does not exist, or with force to any.
func writeConfig(name string, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(name, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return exit.Hinted(exit.Failf("%s already exists", name), "--force overwrites it")
	}
	if err != nil {
		return exit.PlainPath(err)
	}
	err = config.Default().Print(file, config.Explained)
	return exit.PlainPath(errors.Join(err, file.Close()))
}

func newConfigShowCommand(a *app) *cobra.Command {
	var defaults, origin bool
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "show [-o yaml|json] [--defaults] [--origin]",
		Short: "Print the effective configuration",
		Long: `Print the configuration that is in force for the other commands, from all its sources and complete with
defaults, as one file that could replace them all. With --origin, each value says where it comes from.`,
		Example: `  erlmcp config show
  erlmcp config show --origin
  erlmcp config show -o json`,
		RunE: func(*cobra.Command, []string) error {
			c := config.Default()
			if !defaults {
				var err error
				if c, err = a.config(); err != nil {
					return err
				}
			}
			switch {
			case format == "json" && origin:
				return encode.JSON(a.stdout, c.Values())
			case format == "json":
				document, err := c.Document()
				if err != nil {
					return err
				}
				return encode.JSON(a.stdout, document)
			case origin:
				return c.Print(a.stdout, c.WithOrigins)
			}
			return c.Print(a.stdout, config.Plain)
		},
	}
	format.addFormats(cmd, "yaml", "json")
	cmd.Flags().BoolVar(&defaults, "defaults", false, "print the defaults, whatever is configured")
	cmd.Flags().BoolVar(&origin, "origin", false, "print where each value comes from; as JSON, a list of keys")
	return cmd
}

// configCheckSchema names the form of what the checks of a configuration print as JSON.
const configCheckSchema = "erlmcp.check/v1"

// checked is the outcome of a check.
type checked struct {
	Schema   string   `json:"schema"`
	OK       bool     `json:"ok"`
	File     string   `json:"file,omitempty"` // "" when there is none
	Text     string   `json:"text,omitempty"` // what people are told
	Problems []string `json:"problems"`
	Warnings []string `json:"warnings"`
}

// printCheck prints the outcome of a look at the configuration: as text, the warnings come before, and problems are the error,
// which is the result in either form.
func (a *app) printCheck(format outputFormat, r *checked, err error) error {
	r.Schema, r.OK = configCheckSchema, err == nil
	r.Problems = []string{}
	if err != nil {
		r.Problems = exit.Messages(err)
	}
	if r.Warnings == nil {
		r.Warnings = []string{}
	}
	if format != "table" {
		if err != nil && errors.As(err, new(*exit.Stopped)) {
			return err
		}
		return errors.Join(a.print(format, r, nil), exit.With(exit.Code(err)))
	}
	for _, w := range r.Warnings {
		a.warnf("%s", w)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, r.Text)
	return err
}

func newConfigCheckCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the configuration",
		Long: `Check the configuration that the other commands would read. FILE takes the place of that of --config (- is the
standard input). The files of certificates, keys and header fields that it names are checked too: whether they
can be read and belong together, and when certificates expire. "erlmcp lb check" also looks at the machine and
asks the nodes.`,
		Example: `  erlmcp config check
  erlmcp config check new.yaml -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.flags.config = args[0]
			}
			var r checked
			return a.printCheck(format, &r, a.checkConfig(&r))
		},
	}
	format.addOutputFlags(cmd)
	return cmd
}

// checkConfig reads the configuration and the files it names, and notes in r what it finds.
func (a *app) checkConfig(r *checked) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	a.loaded = c
	r.File = c.File
	r.Text = cmp.Or(c.File, c.Once(), "defaults") + ": ok"
	warnings, err := master.CheckFiles(&c.LB, time.Now())
	r.Warnings = slices.Concat(c.Warnings, c.Doubts(), warnings)
	return exit.WithCode(exit.Usage, err)
}

func newConfigSchemaCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of the file, for editors",
		Long: `Print the JSON Schema (2020-12) of erlmcp.yaml: every key with what it is for, its default and what its value looks
like. With it, editors complete and check the file as you write it. What depends on more than one key is left
to "erlmcp config check".

  erlmcp config schema > erlmcp.schema.json

and, for editors with a YAML language server, as the first line of erlmcp.yaml:

  # yaml-language-server: $schema=erlmcp.schema.json`,
		Example: "  erlmcp config schema > erlmcp.schema.json",
		RunE:    func(*cobra.Command, []string) error { return encode.JSON(a.stdout, config.JSONSchema()) },
	}
}

func newConfigPathsCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "paths",
		Short: "Show where configuration, sockets and logs are",
		Long: `Show which files the configuration is read from, the strongest first, and where balancer and cluster have
their sockets and logs. For nodes that run, it shows where their logs really are, even if the configuration
has changed since.

A state directory that you chose, by --state-dir or ERLMCP_STATE_DIR, holds the logs as well. The default one
does not outlive a restart of the machine, so its logs are in $XDG_STATE_HOME/erlmcp or ~/.local/state/erlmcp,
for root in /var/log/erlmcp, if these can be used. Where the default is /tmp/erlmcp-UID, for want of XDG_RUNTIME_DIR,
they are in erlmcp-UID there.`,
		Example: `  erlmcp config paths
  tail -f "$(erlmcp config paths -o json | jq -r '.logs[0]')"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := a.paths(cmd.Context())
			return a.print(format, p, func() error { return p.Print(a.stdout) })
		},
	}
	format.addOutputFlags(cmd)
	return cmd
}

func (a *app) paths(ctx context.Context) *show.Paths {
	p := &show.Paths{Configuration: config.Places(a.configOptions()), StateDir: a.stateDir()}
	c, err := a.config()
	if err != nil { // which is when one wants to know
		a.warnf("showing defaults, as the configuration cannot be read: %s", exit.Messages(err)[0])
		c = config.Default()
	}
	spec := a.clusterSpec(c)
	if running, err := cluster.Connect(p.StateDir).Spec(ctx); err == nil {
		spec = running
	}
	for _, daemon := range []string{"lb", "cluster"} {
		p.Sockets = append(p.Sockets, filepath.Join(p.StateDir, daemon+".sock"))
	}
	p.Logs = []string{a.daemonLog("lb"), a.daemonLog("cluster")}
	p.NodeLogs = cluster.LogDir(p.StateDir, spec)
	p.AccessLog = c.LB.AccessLog.File
	if spec.Runtime == cluster.RuntimeErlang {
		p.ErlangFiles = filepath.Join(p.StateDir, "erlang")
	}
	return p
}
