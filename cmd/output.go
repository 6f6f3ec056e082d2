package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// outputFormat is how a command prints its data: "table" for people, or "json" or "yaml".
type outputFormat string

// addOutputFlags gives a command with data the flags --json and --output.
func (f *outputFormat) addOutputFlags(cmd *cobra.Command) {
	*f = "table"
	cmd.Flags().VarP(f, "output", "o", "print as table, json or yaml")
	cmd.Flags().BoolFunc("json", "print as JSON; the same as --output json", func(string) error { return f.Set("json") })
	cmd.Flags().Lookup("json").DefValue = "false"
	_ = cmd.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

// String, Set and Type make outputFormat a flag value.
func (f *outputFormat) String() string { return string(*f) }

func (f *outputFormat) Type() string { return "format" }

func (f *outputFormat) Set(text string) error {
	switch text {
	case "table", "json", "yaml":
		*f = outputFormat(text)
		return nil
	}
	return fmt.Errorf("not one of table, json, yaml")
}

// print writes v to the standard output in that format; human prints the table.
func (a *app) print(f outputFormat, v any, human func() error) error {
	switch f {
	case "json":
		return a.printJSON(v)
	case "yaml":
		return a.printYAML(v)
	}
	return human()
}

// printJSON writes v as one indented JSON object.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printYAML writes what printJSON writes, with the same keys in the same order, as YAML.
func (a *app) printYAML(v any) error {
	encoded, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(encoded, &node); err != nil { // JSON is YAML in flow style
		return err
	}
	blockStyle(&node)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	_, err = io.Copy(a.stdout, &out)
	return err
}

func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		blockStyle(child)
	}
}
