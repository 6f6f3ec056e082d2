// Package cmd is the command line of erlmcp: flags, one file a command. What a command does is done by the packages below
// it; those in cmd/internal know how it ends and what it prints.
package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/charmbracelet/log"
	"github.com/muesli/termenv"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/daemon"
	"github.com/erlmcp/erlmcp/internal/place"
	"github.com/erlmcp/erlmcp/internal/term"
)

// systemConfig is the machine's configuration file; tests have none.
var systemConfig = config.SystemFile

// app is what all commands share: the streams, the global flags, and the configuration, which is
// read when a command first asks for it.
type app struct {
	stdin  io.Reader
	stdout *term.Output // data
	stderr *term.Output // everything else

	flags struct {
		config, stateDir    string
		directory           string // what relative paths begin at; "" is the working directory
		logLevel, logFormat string
		noColor, quiet      bool
	}
	bound      []boundFlag
	loaded     *config.Config
	configText []byte // of a configuration that can be read only once; nil for a file
	state      string // see stateDir

	running   bool    // a command's own code has begun; errors before are wrong usage
	changes   changes // what it has changed
	jsonLines bool    // JSON is printed one value a line
	answered  bool    // the one line that a monitor reads is printed
}

// Main runs one command line and returns the exit code of the process. It does not print usage texts
// on errors: one line says what is wrong, a second one what to do.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	daemon.OwnDescriptors()
	exit.CatchBrokenPipe()
	errOut := term.New(stderr)
	ctx, stop := exit.WithSignals(context.Background(), errOut)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	a := &app{stdin: stdin, stderr: errOut}
	a.stdout = term.New(stdout).Through(func(w io.Writer) io.Writer { return exit.WhileRead(w, cancel) })

	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	_ = errOut.Erase()
	err = a.advised(root, args, err)
	if nagiosAsked(args) {
		err = a.nagiosUnknown(ctx, err)
	}
	return exit.Report(ctx, errOut, err)
}

// prepare checks the global flags; it runs before every command.
func (a *app) prepare(flags *pflag.FlagSet) error {
	for name, variable := range map[string]string{"log-level": "ERLMCP_LOG_LEVEL", "log-format": "ERLMCP_LOG_FORMAT"} {
		if value := os.Getenv(variable); value != "" && !flags.Changed(name) {
			_ = flags.Set(name, value) // a text, whatever it is
		}
	}
	if a.flags.noColor {
		a.stdout.DisableColor()
		a.stderr.DisableColor()
	}
	if a.flags.quiet {
		a.stderr.Still()
	}
	if _, err := log.ParseLevel(a.flags.logLevel); err != nil {
		return exit.NotOneOf("--log-level", a.flags.logLevel, logLevels)
	}
	if _, ok := logFormats[a.flags.logFormat]; !ok {
		return exit.NotOneOf("--log-format", a.flags.logFormat, logFormatNames)
	}
	return nil
}

// notef tells the user, on the standard error, what happened, unless --quiet.
func (a *app) notef(format string, args ...any) {
	if !a.flags.quiet {
		fmt.Fprintf(a.stderr, "erlmcp: "+format+"\n", args...)
	}
}

// startHint tells how to start a daemon, "lb" or "cluster", that does not run.
func startHint(err error, daemon string) error {
	if control.NotRunning(err) {
		return exit.Hinted(err, "erlmcp %s start", daemon)
	}
	return err
}

// noteStopped tells the user that a daemon does not run, and how to start it.
func (a *app) noteStopped(daemon string) {
	a.notef("%s is not running", daemon)
	if !a.flags.quiet {
		a.hintf("erlmcp %s start", daemon)
	}
}

// warnf tells the user, on the standard error, what is not as it should be.
func (a *app) warnf(format string, args ...any) {
	fmt.Fprintf(a.stderr, "erlmcp: warning: "+format+"\n", args...)
}

// hintf tells the user what to do about a warning.
func (a *app) hintf(format string, args ...any) {
	fmt.Fprintf(a.stderr, "hint: "+format+"\n", args...)
}

// What --log-level and --log-format take, as people are told.
var (
	logLevels      = []string{"debug", "info", "warn", "error"}
	logFormatNames = []string{"text", "json", "logfmt"}
)

var logFormats = map[string]log.Formatter{
	"text":   log.TextFormatter,
	"json":   log.JSONFormatter,
	"logfmt": log.LogfmtFormatter,
}

// log returns a logger to the standard error for the part of the program with that name ("lb", "node").
func (a *app) log(name string) *log.Logger {
	level, _ := log.ParseLevel(a.flags.logLevel) // checked by prepare
	l := log.NewWithOptions(a.stderr, log.Options{
		Level:           level,
		Prefix:          name,
		Formatter:       logFormats[a.flags.logFormat],
		ReportTimestamp: true,
		TimeFormat:      "2006-01-02T15:04:05.000Z07:00",
	})
	if a.stderr.Color() {
		l.SetColorProfile(termenv.ANSI)
	}
	return l
}

// stateDir is the absolute directory for sockets, locks and logs of what runs in the background. The
// directory need not exist yet.
func (a *app) stateDir() string {
	if a.state != "" {
		return a.state
	}
	dir := a.flags.stateDir
	if dir == "" {
		dir = os.Getenv("ERLMCP_STATE_DIR")
	}
	if dir == "" {
		var doubt string
		if dir, doubt = place.DefaultState(); doubt != "" {
			a.warnf("%s: the state directory is %s", doubt, dir)
		}
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	a.state = dir
	return dir
}

// boundFlag is a flag that overrides one key of the configuration.
type boundFlag struct {
	flag *pflag.Flag
	path string
}

// bind makes the flag with that name, when given, override the configuration key at path, such as
// "loadtest.target". The flag's own default is never used.
func (a *app) bind(flags *pflag.FlagSet, name, path string) {
	a.bound = append(a.bound, boundFlag{flags.Lookup(name), path})
}

// config reads and checks the configuration: flags over environment over files over defaults. The
// result is the same for the whole run of a command; loadConfig reads anew.
func (a *app) config() (*config.Config, error) {
	if a.loaded != nil {
		return a.loaded, nil
	}
	c, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	for _, w := range c.Warnings {
		a.warnf("%s", w)
	}
	a.loaded = c
	return c, nil
}

// loadConfig reads the configuration as it is now, for a daemon that reloads.
func (a *app) loadConfig() (*config.Config, error) {
	o := a.configOptions()
	if o.File == "" {
		o.File = os.Getenv("ERLMCP_CONFIG")
	}
	var err error
	if a.configText == nil && o.File != "" {
		if a.configText, err = config.ReadOnce(o.File, o.Dir, a.stdin); err != nil {
			return nil, exit.WithCode(exit.Usage, err)
		}
	}
	o.Text = a.configText
	c, err := config.Load(o)
	return c, exit.WithCode(exit.Usage, err)
}

func (a *app) configOptions() config.Options {
	o := config.Options{File: a.flags.config, System: systemConfig, Dir: a.flags.directory, Env: os.Environ()}
	for _, b := range a.bound {
		if b.flag.Changed {
			o.Flags = append(o.Flags, config.Flag{Path: b.path, Value: flagText(b.flag.Value), Name: "--" + b.flag.Name})
		}
	}
	return o
}

// flagText is a flag's value as the configuration reads it: lists joined by commas.
func flagText(v pflag.Value) string {
	if list, ok := v.(pflag.SliceValue); ok {
		return strings.Join(list.GetSlice(), ",")
	}
	return v.String()
}

// globalArgs are the global flags for a copy of this program in the background, whose working
// directory is another one.
func (a *app) globalArgs() ([]string, error) {
	directory := a.flags.directory
	if directory == "" {
		directory = place.WorkingDirectory()
	}
	args := []string{
		"--state-dir", a.stateDir(), "--directory", directory, "--log-level", a.flags.logLevel, "--log-format", a.flags.logFormat,
	}
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	switch {
	case c.Once() != "": // goes with it as its standard input
		args = append(args, "--config", config.Stdin)
	case c.File != "":
		args = append(args, "--config", c.File)
	}
	return args, nil
}

// completeNodes offers the names of the configured nodes that are not on the command line yet. It is
// a cobra.CompletionFunc.
func (a *app) completeNodes(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if a.flags.config == config.Stdin || strings.HasPrefix(a.flags.config, "/dev/") { // the shell's own
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := a.config()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	given := make(map[string]bool, len(args))
	for _, name := range args {
		given[name] = true
	}
	var names []string
	for _, name := range c.NodeNames() {
		if !given[name] {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
