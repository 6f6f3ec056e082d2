package exit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/nearest"
)

// Error is how a command ends other than well. It is printed once, by Main.
type Error struct {
	code int
	err  error  // what and where; nil says nothing, because the command has already said it
	hint string // what to do about it; may be empty
}

func (e *Error) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *Error) Unwrap() error { return e.err }

// ExitCode is the code of the process that fails with this error.
func (e *Error) ExitCode() int { return e.code }

// Hint is what the reader can do about it.
func (e *Error) Hint() string { return e.hint }

// Usagef is the error of a command that was asked in the wrong way.
func Usagef(format string, args ...any) error {
	return &Error{code: Usage, err: fmt.Errorf(format, args...)}
}

// Failf is the error of a command that could not do what it was asked.
func Failf(format string, args ...any) error {
	return &Error{code: Failure, err: fmt.Errorf(format, args...)}
}

// NotOneOf is the error about a value that is none of those there are; of tells what has it.
func NotOneOf(of, value string, there []string) error {
	err := Usagef("%s: %q is not one of %s", of, value, strings.Join(there, ", "))
	for _, word := range []string{value, strings.ToLower(value), strings.ToUpper(value)} {
		if near := nearest.Find(word, there); near != "" {
			return Hinted(err, "did you mean %s?", near)
		}
	}
	return err
}

// PlainPath says an error of the file system without the name of the system call: "DIR: permission denied".
func PlainPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return Failf("%s: %w", pathErr.Path, pathErr.Err)
	}
	return err
}

// Hinted adds advice to an error and keeps its exit code. A nil error stays nil.
func Hinted(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{code: Code(err), err: err, hint: fmt.Sprintf(format, args...)}
}

// Helpful adds advice to an error that has none.
func Helpful(err error, advice string) error {
	if Hint(err) != "" {
		return err
	}
	return Hinted(err, "%s", advice)
}

// WithCode gives an error another exit code and keeps its hint. A nil error stays nil.
func WithCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &Error{code: code, err: err, hint: Hint(err)}
}

// With ends the command with a code and without a word: it has printed its result.
func With(code int) error {
	if code == OK {
		return nil
	}
	return &Error{code: code}
}

// Silent reports whether an error is a code without a word.
func Silent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.err == nil
}

// Code is the code err asks for, or 1. Errors of other packages ask as advice.Of has it.
func Code(err error) int {
	if err == nil {
		return OK
	}
	if control.NotRunning(err) && !errors.As(err, new(*Error)) {
		return NotRunning
	}
	_, code := advice.Of(err)
	return cmp.Or(code, Failure)
}

// Hint is the advice err carries.
func Hint(err error) string {
	text, _ := advice.Of(err)
	return text
}

// Report prints err the way every error is printed, and returns the exit code.
func Report(ctx context.Context, w io.Writer, err error) int {
	if err == nil {
		return OK
	}
	var stopped *Stopped
	if errors.As(err, &stopped) || errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &stopped) {
		return stopped.Code
	}
	if Silent(err) {
		return Code(err)
	}
	for _, line := range Messages(err) {
		fmt.Fprintf(w, "erlmcp: %s\n", line)
	}
	fmt.Fprintf(w, "hint: %s\n", cmp.Or(Hint(err), LastAdvice(err)))
	return Code(err)
}

// UsageAdvice is all there is to say about wrong usage of which nothing is known.
const UsageAdvice = "erlmcp --help"

// LastAdvice is what to do about an error that nobody knew better advice for.
func LastAdvice(err error) string {
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
	case Code(err) == Usage:
		return UsageAdvice
	case errors.Is(err, context.Canceled):
		return "run it again to begin anew"
	}
	return "erlmcp health says what is wrong, and erlmcp config paths where the logs are"
}

// Messages takes joined errors apart: each is printed as an error of its own.
func Messages(err error) []string {
	switch e := err.(type) { //nolint:errorlint // only what is outermost: text around a list belongs to all of it
	case *Error:
		if e.err == nil {
			return nil
		}
		return Messages(e.err)
	case interface{ Unwrap() []error }:
		var all []string
		for _, each := range e.Unwrap() {
			all = append(all, Messages(each)...)
		}
		return all
	}
	return []string{err.Error()}
}
