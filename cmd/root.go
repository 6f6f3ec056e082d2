package cmd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/erlmcp/erlmcp/internal/nearest"
)

// groups has every command of the program, as the help text shows them.
var groups = []struct {
	title    string
	commands []func(*app) *cobra.Command
}{
	{"Run", []func(*app) *cobra.Command{newUpCommand, newDownCommand, newClusterCommand, newLBCommand, newNodeCommand}},
	{"Watch and prove", []func(*app) *cobra.Command{newHealthCommand, newDoctorCommand, newLoadtestCommand}},
	{"Set up", []func(*app) *cobra.Command{newConfigCommand, newCompletionCommand, newManCommand, newVersionCommand}},
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "erlmcp",
		Short: "Run, balance, watch and load-test a cluster of MCP servers",
		Long: `erlmcp runs a cluster of MCP servers behind a load balancer, watches them, and proves by measurement that the
set-up holds.

You need no configuration file. "erlmcp config init" writes one with all keys and defaults.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Version:           readVersion().line(),
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return a.prepare(c.Flags()) },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(unknownFlag)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)

	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVar(&a.flags.config, "config", "", "configuration `FILE` (default ./erlmcp.yaml; see erlmcp help environment); - is the standard input")
	flags.StringVar(&a.flags.stateDir, "state-dir", "", "`DIR` for sockets, locks and logs (default $XDG_RUNTIME_DIR/erlmcp)")
	flags.StringVar(&a.flags.directory, "directory", "", "`DIR` that relative paths begin at (default the working directory)")
	_ = flags.MarkHidden("directory") // for daemons
	flags.StringVar(&a.flags.logLevel, "log-level", "info", "lowest `LEVEL` to log: debug, info, warn or error")
	flags.StringVar(&a.flags.logFormat, "log-format", "text", "`FORMAT` of log lines: text, json or logfmt")
	flags.BoolVarP(&a.flags.quiet, "quiet", "q", false, "no notes and no progress: data, warnings and errors only")
	flags.BoolVar(&a.flags.noColor, "no-color", false, "no colour (also by NO_COLOR in the environment)")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml")
	_ = root.MarkPersistentFlagDirname("state-dir")
	for name, values := range map[string][]string{
		"log-level":  logLevels,
		"log-format": logFormatNames,
	} {
		_ = root.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}

	for _, group := range groups {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title + ":"})
		for _, construct := range group.commands {
			c := construct(a)
			c.GroupID = group.title
			root.AddCommand(c)
		}
	}
	help := newHelpCommand(a, root)
	help.GroupID = groups[len(groups)-1].title
	root.AddCommand(help)
	root.SetHelpCommand(help)
	a.tighten(root)
	return root
}

// tighten makes every command of the tree strict: a command that only holds others asks for one, one
// without an Args rule takes no arguments, and each notes when its own code begins.
func (a *app) tighten(c *cobra.Command) {
	for _, sub := range c.Commands() {
		a.tighten(sub)
	}
	c.DisableFlagsInUseLine = true
	if !c.Runnable() {
		c.Args = unknownCommand
		c.RunE = needsCommand
		return
	}
	if c.Args == nil {
		c.Args = cobra.NoArgs
	}
	rule := c.Args
	c.Args = func(cmd *cobra.Command, args []string) error { return plainArgsError(cmd, args, rule(cmd, args)) }
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			a.running = true
			return run(cmd, args)
		}
	}
}

// unknownCommand refuses a word that names no command of c.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usagef("unknown command %q", c.CommandPath()+" "+args[0])
	if near := nearest.Find(args[0], commandNames(c)); near != "" {
		return hinted(err, "did you mean %s?", c.CommandPath()+" "+near)
	}
	return err
}

// commandNames are those of the commands of c that are shown, with their aliases.
func commandNames(c *cobra.Command) (names []string) {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || !sub.Hidden && sub.Name() == "help" { // which cobra does not count
			names = append(append(names, sub.Name()), sub.Aliases...)
		}
	}
	return names
}

// unknownFlag adds to an error of the flags of c which one was meant, or which of the values that a flag takes.
func unknownFlag(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if near := nearest.Find(unknown.GetSpecifiedName(), names); near != "" {
			return hinted(withCode(exitUsage, err), "did you mean --%s?", near)
		}
		return err
	}
	var wrong *pflag.InvalidValueError
	if errors.As(err, &wrong) {
		text := wrong.Unwrap().Error()
		switch wrong.GetFlag().Value.Type() {
		case "int":
			text = "not a whole number"
		case "duration":
			text = "not a time span like 30s, 250ms or 5m"
		case "bool":
			if _, own := wrong.GetFlag().Value.(*intervalFlag); !own {
				text = "neither true nor false"
			}
		}
		err := usagef("--%s: %q is %s", wrong.GetFlag().Name, wrong.GetValue(), text)
		if advice := hint(wrong.Unwrap()); advice != "" {
			return hinted(err, "%s", advice)
		}
		return err
	}
	return err
}

// notOneOf is the error about a value that is none of those there are; of tells what has it.
func notOneOf(of, value string, there []string) error {
	err := usagef("%s: %q is not one of %s", of, value, strings.Join(there, ", "))
	for _, word := range []string{value, strings.ToLower(value), strings.ToUpper(value)} {
		if near := nearest.Find(word, there); near != "" {
			return hinted(err, "did you mean %s?", near)
		}
	}
	return err
}

// needsCommand answers a command that only holds others; alone, erlmcp prints its help.
func needsCommand(c *cobra.Command, _ []string) error {
	if !c.HasParent() {
		return c.Help()
	}
	return fmt.Errorf("%s needs a command: %s", c.CommandPath(), strings.Join(commandNames(c), ", "))
}

// plainArgsError says what cobra's argument rules say, with the command's name.
func plainArgsError(c *cobra.Command, given []string, err error) error {
	if err == nil {
		return nil
	}
	if len(given) > 0 && strings.HasPrefix(err.Error(), "unknown command") {
		return fmt.Errorf("%s does not take the argument %q", c.CommandPath(), given[0])
	}
	text := strings.ReplaceAll(err.Error(), "arg(s)", "arguments")
	return fmt.Errorf("%s: %s", c.CommandPath(), text)
}

// advised adds to an error without advice where the help of the command is, if it is one of usage: one from before
// the command's own code, or that says so.
func (a *app) advised(root *cobra.Command, args []string, err error) error {
	var silent *exitError
	if err == nil || errors.As(err, &silent) && silent.err == nil {
		return err
	}
	if !a.running {
		err = withCode(exitUsage, err)
	}
	if hint(err) != "" || lastAdvice(err) != usageAdvice {
		return err
	}
	at, _, findErr := root.Find(args)
	if findErr != nil {
		at = root
	}
	return hinted(err, "%s --help", at.CommandPath())
}
