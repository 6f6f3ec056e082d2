package cmd

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/cmd/internal/show"
	"github.com/erlmcp/erlmcp/internal/nearest"
	"github.com/erlmcp/erlmcp/internal/term"
	"github.com/erlmcp/erlmcp/loadtest"
)

// helpTopics are the pages of help that are about no single command.
var helpTopics = []struct {
	name, short string
	print       func(*term.Output) error
}{
	{"exit-codes", "What the exit codes of all commands mean", printExitCodes},
	{"environment", "The variables and files that all commands read", printEnvironment},
}

func newHelpCommand(a *app, root *cobra.Command) *cobra.Command {
	var long strings.Builder
	long.WriteString("Show the help of a command, or one of these pages:\n\n")
	for _, topic := range helpTopics {
		long.WriteString("  " + topic.name + strings.Repeat(" ", 13-len(topic.name)) + topic.short + "\n")
	}
	return &cobra.Command{
		Use:     "help [COMMAND]...",
		Short:   "Show the help of a command, or a page about all of them",
		Long:    strings.TrimRight(long.String(), "\n"),
		Example: "  erlmcp help lb status\n  erlmcp help exit-codes",
		Args:    cobra.ArbitraryArgs,
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
			for _, topic := range helpTopics {
				if len(args) == 0 {
					names = append(names, topic.name+"\t"+topic.short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			for _, topic := range helpTopics {
				if len(args) == 1 && args[0] == topic.name {
					return topic.print(a.stdout)
				}
			}
			at, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return noHelp(root, at, args, rest)
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

// noHelp refuses to show the help of what is no command; rest is what is left of args behind the command at.
func noHelp(root, at *cobra.Command, args, rest []string) error {
	if at == nil || len(rest) == 0 {
		at, rest = root, args
	}
	err := exit.Usagef("there is no command %q", strings.Join(append([]string{root.Name()}, args...), " "))
	names := commandNames(at)
	for _, topic := range helpTopics {
		if at == root {
			names = append(names, topic.name)
		}
	}
	if near := nearest.Find(rest[0], names); near != "" {
		return exit.Hinted(err, "did you mean %s?", strings.TrimSpace(strings.TrimPrefix(at.CommandPath(), root.Name())+" "+near))
	}
	return err
}

// variables are those of the environment that are no key of the configuration.
var variables = [][2]string{
	{"ERLMCP_CONFIG", "the configuration file, as --config"},
	{"ERLMCP_STATE_DIR", "where sockets, locks and logs are, as --state-dir"},
	{"ERLMCP_LOG_LEVEL", "debug, info, warn or error, as --log-level"},
	{"ERLMCP_LOG_FORMAT", "text, json or logfmt, as --log-format"},
	{loadtest.TokenVariable, "the secret that a load test shares with its agents on other machines"},
	{loadtest.BusVariable, "what the NATS server asks for where a load test meets its agents"},
	{"ERLMCP_SECTION_KEY", "any key of the configuration: lb.limits.exempt is ERLMCP_LB_LIMITS_EXEMPT"},
	{"NO_COLOR", "no colour, as --no-color, if it is not empty"},
	{"XDG_CONFIG_HOME", "the user's configuration is in erlmcp/erlmcp.yaml there; $HOME/.config if it is not set"},
	{"XDG_RUNTIME_DIR", "the state directory is erlmcp there; /tmp/erlmcp-UID if it is not set"},
}

// printEnvironment prints what commands read beside their flags.
func printEnvironment(out *term.Output) error {
	t := out.Table("VARIABLE", "WHAT IT IS")
	for _, v := range variables {
		t.Row(v[0], v[1])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := out.Write([]byte(`
Values of the configuration are taken from, in this order: flags, environment, the file of --config
(ERLMCP_CONFIG) or else ./erlmcp.yaml, the user's file, the machine's /etc/erlmcp/erlmcp.yaml, the
defaults. "erlmcp config paths" tells which of these files there are, "erlmcp config show --origin"
where each value comes from.
`))
	return err
}

// printExitCodes prints the table of exit codes.
func printExitCodes(out *term.Output) error {
	t := out.Table(">CODE", "MEANING", "OF HEALTH")
	for _, c := range exit.Codes {
		t.Row(c.Code, c.Meaning, show.OrDash(c.Health))
	}
	return t.Flush()
}
