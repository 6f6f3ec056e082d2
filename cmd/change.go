package cmd

import (
	"fmt"

	"github.com/spf13/cobra"
)

// changesSchema names the form of what commands that change something print as JSON.
const changesSchema = "erlmcp.changes/v1"

// change is one thing that a command has done, or with --dry-run would do.
type change struct {
	Action string   `json:"action"` // "start", "stop", "drain", …
	Kind   string   `json:"kind"`   // of what is changed: "node", "cluster", "lb", "client" or "file"
	Names  []string `json:"names"`  // which of that kind; the kind itself where there is one
	Text   string   `json:"text"`   // what people are told
	Detail any      `json:"detail,omitempty"`
}

// changes are what a command answers that changes something. Commands for people say each as it
// happens, on the standard error; a program gets all at the end, on the standard output.
type changes struct {
	format  outputFormat
	dryRun  bool
	changed []change
}

// addChangeFlags gives a command that changes something the flags --output and --dry-run.
func (a *app) addChangeFlags(cmd *cobra.Command) *cobra.Command {
	a.addAnswerFlags(cmd)
	cmd.Flags().BoolVar(&a.changes.dryRun, "dry-run", false, "say what would change, and change nothing")
	return cmd
}

// addAnswerFlags gives a command that changes nothing that runs, such as a file, the flag --output.
func (a *app) addAnswerFlags(cmd *cobra.Command) {
	var format outputFormat
	format.addOutputFlags(cmd, formatName)
	run := cmd.RunE
	cmd.RunE = func(c *cobra.Command, args []string) error {
		a.changes.format = format
		err := run(c, args)
		if err != nil && len(a.changes.changed) == 0 {
			return err
		}
		if e := a.printChanges(); err == nil {
			err = e
		}
		return err
	}
}

// did notes a change, and tells people of it.
func (a *app) did(c change, format string, args ...any) {
	c.Text = fmt.Sprintf(format, args...)
	a.changes.changed = append(a.changes.changed, c)
	switch {
	case a.changes.format != "table" && a.changes.format != "":
	case a.changes.dryRun:
		fmt.Fprintln(a.stdout, c.Text)
	default:
		a.notef("%s", c.Text)
	}
}

// would notes, with --dry-run, what the caller is about to do, and reports that it is not to be done.
func (a *app) would(c change, format string, args ...any) bool {
	if a.changes.dryRun {
		a.did(c, "would "+format, args...)
	}
	return a.changes.dryRun
}

// printChanges prints for programs what was done.
func (a *app) printChanges() error {
	c := &a.changes
	for i := range c.changed {
		if one := &c.changed[i]; len(one.Names) == 0 {
			one.Names = []string{one.Kind} // there is one of it
		}
	}
	var names []string
	for _, done := range c.changed {
		names = append(names, done.Names...)
	}
	return a.printNamed(c.format, struct {
		Schema  string   `json:"schema"`
		DryRun  bool     `json:"dry_run"`
		Changes []change `json:"changes"`
	}{changesSchema, c.dryRun, append([]change{}, c.changed...)}, names, func() error { return nil })
}

// onNodes is a change of nodes, and onNode of one.
func onNodes(action string, names []string) change {
	return change{Action: action, Kind: "node", Names: names}
}

func onNode(action, name string, detail any) change {
	return change{Action: action, Kind: "node", Names: []string{name}, Detail: detail}
}
