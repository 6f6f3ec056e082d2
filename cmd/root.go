package cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
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
		Long: `erlmcp runs a cluster of MCP server nodes, balances clients over them, watches them,
and proves with measurements that the set-up holds.

A configuration file is not needed; "erlmcp config init" writes one with all defaults.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return a.prepare(c.Flags()) },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)

	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVar(&a.flags.config, "config", "", "configuration `FILE` (default ./erlmcp.yaml); - is the standard input")
	flags.StringVar(&a.flags.stateDir, "state-dir", "", "`DIR` for sockets, locks and logs (default $XDG_RUNTIME_DIR/erlmcp)")
	flags.StringVar(&a.flags.directory, "directory", "", "`DIR` that relative paths begin at (default the working directory)")
	_ = flags.MarkHidden("directory") // for daemons
	flags.StringVar(&a.flags.logLevel, "log-level", "info", "least `LEVEL` to log: debug, info, warn or error")
	flags.StringVar(&a.flags.logFormat, "log-format", "text", "`FORMAT` of log lines: text, json or logfmt")
	flags.BoolVar(&a.flags.noColor, "no-color", false, "no colour (also by NO_COLOR in the environment)")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml")
	_ = root.MarkPersistentFlagDirname("state-dir")
	for name, values := range map[string][]string{
		"log-level":  {"debug", "info", "warn", "error"},
		"log-format": {"text", "json", "logfmt"},
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
	help := newHelpCommand(root)
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
	err := fmt.Errorf("unknown command %q", c.CommandPath()+" "+args[0])
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return hinted(withCode(exitUsage, err), "did you mean %s?", c.CommandPath()+" "+strings.Join(near, " or "))
	}
	return err
}

// needsCommand answers a command that only holds others; alone, erlmcp prints its help.
func needsCommand(c *cobra.Command, _ []string) error {
	if !c.HasParent() {
		return c.Help()
	}
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return fmt.Errorf("%s needs a command: %s", c.CommandPath(), strings.Join(names, ", "))
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

// asUsage turns an error from before a command's own code into wrong usage, and points to its help.
func asUsage(root *cobra.Command, args []string, err error) error {
	if hint(err) != "" {
		return withCode(exitUsage, err)
	}
	at, _, findErr := root.Find(args)
	if findErr != nil {
		at = root
	}
	return hinted(withCode(exitUsage, err), "%s --help", at.CommandPath())
}

func newHelpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]...",
		Short: "Show the help of a command",
		Args:  cobra.ArbitraryArgs,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			at, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, sub := range at.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name()+"\t"+sub.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			at, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no command %q", strings.Join(append([]string{root.Name()}, args...), " "))
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}
