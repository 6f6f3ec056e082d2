package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
)

// timeoutError is why a command that was to end within --timeout did not.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("not done within %v (--timeout)", e.after) }

// addTimeout gives a command that waits the flag --timeout. What is under way at its end is what then
// says; without the flag the command has its own patience.
func addTimeout(cmd *cobra.Command, then string) *cobra.Command {
	var limit time.Duration
	cmd.Flags().DurationVar(&limit, "timeout", 0, "give up after this `TIME` (default no limit)")
	run := cmd.RunE
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if !c.Flags().Changed("timeout") {
			return run(c, args)
		}
		if limit <= 0 {
			return exit.Usagef("--timeout: %v is not a time to wait", limit)
		}
		over := &timeoutError{limit}
		ctx, cancel := context.WithTimeoutCause(c.Context(), limit, over)
		defer cancel()
		c.SetContext(ctx)
		err := run(c, args)
		if err != nil && errors.Is(context.Cause(ctx), over) && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
			return exit.Hinted(exit.Failf("%s: %w", c.CommandPath(), over), "%s", then)
		}
		return err
	}
	return cmd
}
