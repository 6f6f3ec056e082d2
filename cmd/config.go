package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/internal/config"
)

func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Write, show or check the configuration",
		Long: `The configuration is optional. Values are taken, in this order, from flags, from environment
variables, from the file of --config or else ./erlmcp.yaml, from
$XDG_CONFIG_HOME/erlmcp/erlmcp.yaml, and from the defaults.

Every key has a variable: lb.limits.messages_per_second is ERLMCP_LB_LIMITS_MESSAGES_PER_SECOND.
Lists are written with commas, or as in YAML in brackets.`,
	}
	cmd.AddCommand(newConfigInitCommand(a), newConfigShowCommand(a), newConfigCheckCommand(a), newConfigPathsCommand(a))
	return cmd
}

func newConfigInitCommand(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "init [FILE] [--force]",
		Short: "Write a file with all keys, their defaults and what they are for",
		Long:  `Write a configuration file with all keys, their defaults and what they are for. FILE is ./erlmcp.yaml unless given; - is the standard output.`,
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := config.FileName
			if len(args) == 1 {
				name = args[0]
			}
			if name == "-" {
				return config.Default().Print(a.stdout, config.Explained)
			}
			if err := writeConfig(name, force); err != nil {
				return err
			}
			a.notef("wrote %s", name)
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite an existing file")
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
		return hinted(failf("%s already exists", name), "--force overwrites it")
	}
	if err != nil {
		return plainPathError(err)
	}
	err = config.Default().Print(file, config.Explained)
	return plainPathError(errors.Join(err, file.Close()))
}

func newConfigShowCommand(a *app) *cobra.Command {
	var asJSON, defaults, origin bool
	cmd := &cobra.Command{
		Use:   "show [--json] [--defaults] [--origin]",
		Short: "Print the effective configuration",
		RunE: func(*cobra.Command, []string) error {
			c := config.Default()
			if !defaults {
				var err error
				if c, err = a.config(); err != nil {
					return err
				}
			}
			switch {
			case asJSON && origin:
				return a.printJSON(c.Values())
			case asJSON:
				document, err := c.Document()
				if err != nil {
					return err
				}
				return a.printJSON(document)
			case origin:
				return c.Print(a.stdout, c.WithOrigins)
			}
			return c.Print(a.stdout, config.Plain)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON; with --origin, as a list of keys")
	cmd.Flags().BoolVar(&defaults, "defaults", false, "print the defaults, whatever is configured")
	cmd.Flags().BoolVar(&origin, "origin", false, "print where each value comes from")
	return cmd
}

func newConfigCheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the configuration",
		Long:  `Check the configuration as the other commands would read it, with FILE in place of that of --config.`,
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.flags.config = args[0]
			}
			c, err := a.config()
			if err != nil {
				return err
			}
			for _, doubt := range c.Doubts() {
				a.notef("warning: %s", doubt)
			}
			what := c.File
			if what == "" {
				what = "defaults"
			}
			_, err = fmt.Fprintf(a.stdout, "%s: ok\n", what)
			return err
		},
	}
}
