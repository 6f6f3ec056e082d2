package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
)

// exitError is how a command ends other than well. It is printed once, by Main.
type exitError struct {
	code int
	err  error  // what and where; nil says nothing, because the command has already said it
	hint string // what to do about it; may be empty
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// ExitCode is the code of the process that fails with this error.
func (e *exitError) ExitCode() int { return e.code }

// Hint is what the reader can do about it.
func (e *exitError) Hint() string { return e.hint }

// usagef is the error of a command that was asked in the wrong way.
func usagef(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// failf is the error of a command that could not do what it was asked.
func failf(format string, args ...any) error {
	return &exitError{code: exitFailure, err: fmt.Errorf(format, args...)}
}

// hinted adds advice to an error and keeps its exit code. A nil error stays nil.
func hinted(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &exitError{code: exitCode(err), err: err, hint: fmt.Sprintf(format, args...)}
}

// helpful adds advice to an error that has none.
func helpful(err error, advice string) error {
	if hint(err) != "" {
		return err
	}
	return hinted(err, "%s", advice)
}

// withCode gives an error another exit code and keeps its hint. A nil error stays nil.
func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: code, err: err, hint: hint(err)}
}

// exitWith ends the command with a code and without a word: it has printed its result.
func exitWith(code int) error {
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}

// exitCode is the code err asks for, or 1. Errors of other packages ask as advice.Of has it.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if control.NotRunning(err) && !errors.As(err, new(*exitError)) {
		return exitNotRunning
	}
	_, code := advice.Of(err)
	return cmp.Or(code, exitFailure)
}

// hint is the advice err carries.
func hint(err error) string {
	text, _ := advice.Of(err)
	return text
}

// startHint tells how to start a daemon, "lb" or "cluster", that does not run.
func startHint(err error, daemon string) error {
	if control.NotRunning(err) {
		return hinted(err, "erlmcp %s start", daemon)
	}
	return err
}

// report prints err the way every error is printed, and returns the exit code.
func report(ctx context.Context, w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	var stopped *stopError
	if errors.As(err, &stopped) || errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &stopped) {
		return stopped.code
	}
	var silent *exitError
	if errors.As(err, &silent) && silent.err == nil {
		return silent.code
	}
	for _, line := range messages(err) {
		fmt.Fprintf(w, "erlmcp: %s\n", line)
	}
	fmt.Fprintf(w, "hint: %s\n", cmp.Or(hint(err), lastAdvice(err)))
	return exitCode(err)
}

// usageAdvice is all there is to say about wrong usage of which nothing is known.
const usageAdvice = "erlmcp --help"

// lastAdvice is what to do about an error that nobody knew better advice for.
func lastAdvice(err error) string {
	var key *config.Error
	switch {
	case control.NotRunning(err):
		return "erlmcp up starts cluster and balancer"
	case errors.As(err, &key):
		return "erlmcp config init - prints every key, with its default and what it is for"
	case errors.Is(err, syscall.EADDRINUSE):
		return "erlmcp doctor tells who listens there"
	case errors.Is(err, fs.ErrPermission):
		return "run it as a user that may, or change whose the file is"
	case errors.Is(err, syscall.ENOSPC):
		return "free some room on the disk (df -h)"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return "erlmcp doctor tells what this machine lacks"
	case errors.Is(err, fs.ErrNotExist):
		return "see that it is there, and name it as it is"
	case errors.Is(err, context.DeadlineExceeded):
		return "try again; erlmcp health tells who does not answer"
	case exitCode(err) == exitUsage:
		return usageAdvice
	case errors.Is(err, context.Canceled):
		return "run it again to begin anew"
	}
	return "erlmcp health says what is wrong, and erlmcp config paths where the logs are"
}

// messages takes joined errors apart: each is printed as an error of its own.
func messages(err error) []string {
	switch e := err.(type) { //nolint:errorlint // only what is outermost: text around a list belongs to all of it
	case *exitError:
		if e.err == nil {
			return nil
		}
		return messages(e.err)
	case interface{ Unwrap() []error }:
		var all []string
		for _, each := range e.Unwrap() {
			all = append(all, messages(each)...)
		}
		return all
	}
	return []string{err.Error()}
}
