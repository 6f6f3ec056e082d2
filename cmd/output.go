package cmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/encode"
	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/internal/nearest"
)

// outputFormat is how a command prints its data: "table" for people, or "json" or "yaml", or a format
// of that command alone.
type outputFormat string

// Formats that only some commands have.
const (
	formatWide = "wide" // a table with more columns
	formatName = "name" // names alone, one a line
)

// addOutputFlags gives a command with data the flags --json and --output. more are its own formats.
func (f *outputFormat) addOutputFlags(cmd *cobra.Command, more ...string) {
	f.addFormats(cmd, append([]string{"table", "json", "yaml"}, more...)...)
}

// addFormats gives a command the same flags with the formats of these names, of which the first is its default.
func (f *outputFormat) addFormats(cmd *cobra.Command, names ...string) {
	*f = outputFormat(names[0])
	last := len(names) - 1
	cmd.Flags().VarP(&formatFlag{f, names}, "output", "o", "print as "+strings.Join(names[:last], ", ")+" or "+names[last])
	cmd.Flags().BoolFunc("json", "print as JSON; the same as --output json", func(string) error {
		*f = "json"
		return nil
	})
	cmd.Flags().Lookup("json").DefValue = "false"
	_ = cmd.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
}

// formatFlag is the value of --output: one of names.
type formatFlag struct {
	format *outputFormat
	names  []string
}

func (v *formatFlag) String() string {
	if v.format == nil { // the zero value, which package flag asks for
		return ""
	}
	return string(*v.format)
}

// Type is the name of the value in the help text.
func (v *formatFlag) Type() string { return "format" }

// Set takes one of the names, and "text" for the table.
func (v *formatFlag) Set(text string) error {
	if text == "text" {
		text = "table"
	}
	if !slices.Contains(v.names, text) {
		err := fmt.Errorf("not one of %s", strings.Join(v.names, ", "))
		if near := nearest.Find(text, v.names); near != "" {
			return exit.Hinted(err, "did you mean %s?", near)
		}
		return err
	}
	*v.format = outputFormat(text)
	return nil
}

// print writes v to the standard output in that format; human prints the table.
func (a *app) print(f outputFormat, v any, human func() error) error {
	switch f {
	case "json":
		if a.jsonLines {
			return encode.JSONLine(a.stdout, v)
		}
		return encode.JSON(a.stdout, v)
	case "yaml":
		return encode.YAML(a.stdout, v)
	}
	return human()
}

// printNamed is print for what has names, which are a format too: one a line.
func (a *app) printNamed(f outputFormat, v any, names []string, human func() error) error {
	if f != formatName {
		return a.print(f, v, human)
	}
	for _, name := range names {
		if _, err := fmt.Fprintln(a.stdout, name); err != nil {
			return err
		}
	}
	return nil
}
