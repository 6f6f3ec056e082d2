package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/internal/term"
)

func newClusterTailCommand(a *app) *cobra.Command {
	var lines int
	var noFollow, asJSON bool
	var since, grep string
	cmd := &cobra.Command{
		Use:   "tail [NODE...] [-n LINES] [--since TIME] [--grep PATTERN] [--json] [--no-follow]",
		Short: "Print the nodes' logs as they grow",
		Long: `Print the last lines of the logs of all nodes, or of these, and then what is added, until Ctrl-C.
Works while nodes restart, through rotation, and while nothing runs. On a terminal, what else than choose a
color a node could do to it is printed as a number; elsewhere every byte stays as it is.

With --since or --grep and without --lines, all lines there are count, not only the last ones. A line
is as old as the time it begins with (RFC 3339), or that in its member "time" or "ts" if it is JSON,
or else as the line before it.

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
			logs, err := cluster.NodeLogs(cmd.Context(), a.stateDir(), c.Cluster, names)
			if err != nil {
				return err
			}
			print := a.linePrinter(logs)
			if asJSON {
				print = a.printLineJSON
			}
			return cluster.Tail(cmd.Context(), logs, lines, !noFollow, filter.Through(print))
		},
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "print the last `LINES` of each log first")
	cmd.Flags().StringVar(&since, "since", "", "leave out lines before `TIME`: 5m ago, or 2026-01-31T12:00:00Z")
	cmd.Flags().StringVar(&grep, "grep", "", "leave out lines that do not match `PATTERN`, a regular expression")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	cmd.Flags().BoolVar(&noFollow, "no-follow", false, "end after these lines")
	return cmd
}

// tailFilter reads the flags --since, a time or how long ago that is, and --grep.
func tailFilter(since, grep string, now time.Time) (f cluster.Filter, err error) {
	if since != "" {
		ago, err := time.ParseDuration(strings.TrimSuffix(since, " ago"))
		switch {
		case err == nil && ago >= 0:
			f.Since = now.Add(-ago)
		default:
			if f.Since, err = time.Parse(time.RFC3339, since); err != nil {
				return f, usagef("--since: %q is neither a time span like 5m nor a time like 2026-01-31T12:00:00Z", since)
			}
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

// linePrinter prints lines behind the aligned name of their node.
func (a *app) linePrinter(logs []cluster.NodeLog) func(node string, line []byte) error {
	width := 0
	for _, l := range logs {
		width = max(width, len(l.Node))
	}
	prefixes := map[string]string{}
	for i, l := range logs {
		prefixes[l.Node] = a.stdout.Paint(nodeStyles[i%len(nodeStyles)], fmt.Sprintf("%-*s |", width, l.Node)) + " "
	}
	return func(node string, line []byte) error {
		reset := ""
		if a.stdout.Color() && bytes.IndexByte(line, '\x1b') >= 0 {
			reset = "\x1b[0m" // a color that the node chose ends with its line
		}
		_, err := fmt.Fprintf(a.stdout, "%s%s%s\n", prefixes[node], line, reset)
		return err
	}
}
