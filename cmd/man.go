package cmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
)

// manHeader has a fixed date, so that the pages change only when a command does.
func manHeader() *doc.GenManHeader {
	date := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	return &doc.GenManHeader{Title: "ERLMCP", Section: "1", Source: "erlmcp", Manual: "erlmcp manual", Date: &date}
}

func newManCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "man [DIR]",
		Short: "Print the manual page, or write all pages to a directory",
		Long: `Without DIR, print the manual page of erlmcp itself, for "erlmcp man | man -l -". With DIR, write one page for
each command there, and make the directory if it is missing.`,
		Example: `  erlmcp man | man -l -
  erlmcp man /usr/local/share/man/man1`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			if len(args) == 0 {
				forManPages(root)
				var page bytes.Buffer
				if err := doc.GenMan(root, manHeader(), &page); err != nil {
					return err
				}
				_, err := page.WriteTo(a.stdout)
				return err
			}
			return writeManPages(root, args[0])
		},
	}
}

// writeManPages writes the page of every command that is not hidden to dir.
func writeManPages(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return exit.PlainPath(err)
	}
	forManPages(root)
	return exit.PlainPath(doc.GenManTree(root, manHeader(), filepath.Clean(dir)))
}

// forManPages makes the help texts fit for a page: lists, indented by two spaces in a help text, are
// kept as they are only when they are indented by four. The pages bear no date of generation.
func forManPages(c *cobra.Command) {
	c.DisableAutoGenTag = true
	c.Long = strings.ReplaceAll(c.Long, "\n  ", "\n    ")
	for _, sub := range c.Commands() {
		forManPages(sub)
	}
}
