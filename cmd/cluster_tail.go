package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/logtime"
	"github.com/erlmcp/erlmcp/internal/term"
)

func newClusterTailCommand(a *app) *cobra.Command {
	var lines int
	var follow, noFollow, asJSON bool
	var since, grep string
	cmd := &cobra.Command{
		Use:   "tail [NODE...] [-n LINES] [--since TIME] [--grep PATTERN] [--json] [-f | --no-follow]",
		Short: "Print the nodes' logs as they grow",
		Long: `Print the last lines of the logs of all nodes, or of these, and then what is added, until Ctrl-C.
Works while nodes restart, come and go, through rotation, and while nothing runs.

With --since or --grep and without --lines, all lines there are count, not only the last ones. TIME is
a span like 5m, 1h30m, 2d or 1w, a time of today like 12:00, a date, with a time or not, or "today"
or "yesterday". How old a line is tells the time it says itself, as loggers write it, in text or in JSON.
One that says none is at least as old as the next one that does, and if it is indented it belongs to the one
before it. A line whose age cannot be told is printed, and so is all that comes from now on.

With --json, each line is one object: "node", and "entry" for a line that is itself a JSON object, or
"line" for any other.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, names []string) error {
			if lines < 0 {
				return usagef("--lines: %d is negative", lines)
			}
			filter, err := tailFilter(since, grep, time.Now())
			if err != nil {
				return err
			}
			if since+grep != "" && !cmd.Flags().Changed("lines") {
				lines = cluster.AllLines
			}
			c, err := a.config()
			if err != nil {
				return err
			}
			known := names
			if len(known) == 0 {
				known = c.NodeNames()
			}
			print := a.linePrinter(known)
			if asJSON {
				print = a.printLineJSON
			}
			return cluster.Tail(cmd.Context(), cluster.TailOptions{
				Logs: func(ctx context.Context) ([]cluster.NodeLog, error) {
					return cluster.NodeLogs(ctx, a.stateDir(), a.clusterSpec(c), names)
				},
				Lines: lines, Follow: follow && !noFollow, Filter: filter,
			}, print)
		},
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "print the last `LINES` of each log first")
	cmd.Flags().StringVar(&since, "since", "", "leave out lines before `TIME`: 5m, 2d, 12:00, yesterday, 2026-01-31, 2026-01-31T12:00:00Z")
	cmd.Flags().StringVar(&grep, "grep", "", "leave out lines that do not match `PATTERN`, a regular expression")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	cmd.Flags().BoolVarP(&follow, "follow", "f", true, "go on with what is added")
	cmd.Flags().BoolVar(&noFollow, "no-follow", false, "end after these lines")
	cmd.MarkFlagsMutuallyExclusive("follow", "no-follow")
	return cmd
}

// tailFilter reads the flags --since and --grep.
func tailFilter(since, grep string, now time.Time) (f cluster.Filter, err error) {
	if since != "" {
		if f.Since, err = logtime.Since(since, now); err != nil {
			return f, usagef("--since: %q %v", since, err)
		}
	}
	if grep != "" {
		if f.Match, err = regexp.Compile(grep); err != nil {
			return f, usagef("--grep: %v", err)
		}
	}
	return f, nil
}

// printLineJSON prints a line as an object. What is no UTF-8 in it becomes U+FFFD.
func (a *app) printLineJSON(node string, line []byte) error {
	object := struct {
		Node  string          `json:"node"`
		Entry json.RawMessage `json:"entry,omitempty"`
		Line  *string         `json:"line,omitempty"`
	}{Node: node}
	if text := bytes.TrimSpace(line); len(text) > 0 && text[0] == '{' && json.Valid(text) {
		object.Entry = text
	} else {
		text := strings.ToValidUTF8(string(line), "\uFFFD")
		object.Line = &text
	}
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(object)
}

// nodeStyles tell neighbours apart; 35 is magenta, 34 blue.
var nodeStyles = []term.Style{term.Cyan, term.Yellow, term.Green, "35", "34"}

// linePrinter prints lines behind the name of their node, aligned as far as names are known.
func (a *app) linePrinter(names []string) func(node string, line []byte) error {
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	prefixes := map[string]string{}
	prefix := func(node string) string {
		if _, known := prefixes[node]; !known {
			style := nodeStyles[len(prefixes)%len(nodeStyles)]
			prefixes[node] = a.stdout.Paint(style, fmt.Sprintf("%-*s |", width, node)) + " "
		}
		return prefixes[node]
	}
	for _, name := range names {
		prefix(name)
	}
	return func(node string, line []byte) error {
		_, err := fmt.Fprintf(a.stdout, "%s%s\n", prefix(node), line)
		return err
	}
}
