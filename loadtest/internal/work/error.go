package work

import (
	"errors"
	"fmt"
)

// Error is one thing that is wrong in what a user wrote. ReadScenario joins all of them, one a line.
type Error struct {
	Where  string // file, or flag
	Line   int    // 1-based; 0 of a file as a whole and outside of files
	Column int    // 1-based, in characters
	Path   string // of the key, "" for the whole
	Err    error  // what is wrong
}

func (e *Error) Error() string {
	text := e.Where
	if e.Line > 0 {
		text += fmt.Sprintf(":%d", e.Line)
	}
	if e.Column > 0 {
		text += fmt.Sprintf(":%d", e.Column)
	}
	if e.Path != "" {
		text += ": " + e.Path
	}
	return text + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// maxErrors is how many errors are worth reading at once.
const maxErrors = 20

func join(errs []error) error {
	if len(errs) > maxErrors {
		errs = append(errs[:maxErrors:maxErrors], fmt.Errorf("and %d more", len(errs)-maxErrors))
	}
	return errors.Join(errs...)
}
