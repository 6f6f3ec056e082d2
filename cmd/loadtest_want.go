package cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/loadtest"
)

// printFigures lists what --want can be about.
func (a *app) printFigures() error {
	_, err := fmt.Fprintln(a.stdout, strings.Join(loadtest.Figures(), "\n"))
	return err
}

// completeWants offers figures behind the last comma. It is a cobra.CompletionFunc.
func completeWants(_ *cobra.Command, _ []string, written string) ([]string, cobra.ShellCompDirective) {
	before := written[:strings.LastIndexByte(written, ',')+1]
	var offers []string
	for _, f := range loadtest.Figures() {
		offers = append(offers, before+f)
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
