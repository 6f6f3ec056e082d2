package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/internal/tempo"
)

// watchInterval is how often --watch looks unless said.
const watchInterval = 2 * time.Second

// intervalFlag is the value of --watch and of --continuous: absent, without a value, or with seconds.
type intervalFlag struct {
	on    bool
	every time.Duration // 0 leaves it to the command
}

// Set takes seconds ("5", "0.5") or a duration ("500ms").
func (f *intervalFlag) Set(text string) error {
	if on, err := strconv.ParseBool(text); err == nil && len(text) > 1 {
		*f = intervalFlag{on: on}
		return nil
	}
	every, err := parseSeconds(text)
	if err != nil || every < 100*time.Millisecond || every > 24*time.Hour {
		return errors.New("not seconds from 0.1 to 86400")
	}
	*f = intervalFlag{true, every}
	return nil
}

func (f *intervalFlag) String() string {
	if f.every > 0 {
		return f.every.String()
	}
	return strconv.FormatBool(f.on)
}

// Type makes the help text show no more than the name of the value.
func (f *intervalFlag) Type() string { return "bool" }

// take is for the interval that was given as a word of its own behind the flag, and so arrives as an argument. It
// returns the other arguments.
func (f *intervalFlag) take(args []string) []string {
	if !f.on || f.every != 0 {
		return args
	}
	for i, word := range args {
		if word != "" && '0' <= word[0] && word[0] <= '9' && f.Set(word) == nil {
			return append(args[:i:i], args[i+1:]...)
		}
	}
	return args
}

// addWatch gives a command that shows a state the flag --watch.
func (f *intervalFlag) addWatch(cmd *cobra.Command) {
	cmd.Flags().VarP(f, "watch", "w", fmt.Sprintf("repeat every `[SECONDS]` (default %g) until Ctrl-C", watchInterval.Seconds()))
	cmd.Flags().Lookup("watch").NoOptDefVal = "true"
}

// watched shows a state once, or with --watch again and again until ctx ends: redrawn on a terminal, else one
// below the other. The error is that of the last look.
func (a *app) watched(ctx context.Context, w intervalFlag, format outputFormat, show func(context.Context) error) error {
	if !w.on {
		return show(ctx)
	}
	every := w.every
	if every == 0 {
		every = watchInterval
	}
	a.jsonLines = format == "json"
	out, errOut := a.stdout, a.stderr
	redraw := out.Live() && format != "json" && format != "yaml"
	var last error
	for first := true; ; first = false {
		var screen bytes.Buffer
		a.stdout = out.Onto(&screen)
		if redraw {
			a.stderr = errOut.Onto(&screen)
		}
		err := show(ctx)
		a.stdout, a.stderr = out, errOut
		if ctx.Err() != nil {
			return last // of a look that was whole
		}
		if err != nil && !exit.Silent(err) {
			return err
		}
		last = err
		switch {
		case redraw:
			head := fmt.Sprintf("every %v: %s\n\n", every, time.Now().Format(time.DateTime))
			err = out.Draw(head + screen.String())
		case format == "yaml":
			_, err = fmt.Fprintf(out, "---\n%s", screen.String())
		case format == "json" || first:
			_, err = out.Write(screen.Bytes())
		default:
			_, err = fmt.Fprintf(out, "\n%s", screen.String())
		}
		if err != nil {
			return err
		}
		if tempo.Pause(ctx, every) != nil {
			return last
		}
	}
}
