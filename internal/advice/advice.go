// Package advice has errors say what to do about them. Any error may: by a method Hint() string, and by a method
// ExitCode() int for the code that it asks of a command.
package advice

import "errors"

// Error is an error with a hint.
type Error struct {
	Err  error
	hint string
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Hint is what to do about it.
func (e *Error) Hint() string { return e.hint }

// With adds a hint to an error.
func With(err error, hint string) error { return &Error{err, hint} }

// Of returns what an error says by its methods Hint and ExitCode, "" and 0 where it says nothing.
func Of(err error) (hint string, exit int) {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		hint = hinted.Hint()
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		exit = coded.ExitCode()
	}
	return hint, exit
}
