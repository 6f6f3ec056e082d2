package config

import (
	"errors"
	"fmt"
	"strings"
)

// Origin says where a value comes from. The zero Origin is the program's default.
type Origin struct {
	Name   string // file, environment variable or flag
	Line   int    // 1-based; 0 outside of files
	Column int    // 1-based, in characters
}

// String is "erlmcp.yaml:3:5", "ERLMCP_LB_BALANCE", "--target" or "default".
func (o Origin) String() string {
	switch {
	case o.Name == "":
		return "default"
	case o.Line == 0:
		return o.Name
	case o.Column == 0:
		return fmt.Sprintf("%s:%d", o.Name, o.Line)
	}
	return fmt.Sprintf("%s:%d:%d", o.Name, o.Line, o.Column)
}

// Error is one thing that is wrong with the configuration. Load joins all of them, one a line.
type Error struct {
	Origin Origin // where the value stands; zero when a default is wrong
	Path   string // key, "" for the file as a whole
	Text   string // what is wrong
}

func (e *Error) Error() string {
	var parts []string
	if e.Origin != (Origin{}) {
		parts = append(parts, e.Origin.String())
	}
	if e.Path != "" {
		parts = append(parts, e.Path)
	}
	return strings.Join(append(parts, e.Text), ": ")
}

// maxErrors is how many errors are worth reading at once.
const maxErrors = 20

// problems collects errors.
type problems []error

func (p *problems) add(origin Origin, path, format string, args ...any) {
	*p = append(*p, &Error{origin, path, fmt.Sprintf(format, args...)})
}

func (p problems) err() error {
	if len(p) > maxErrors {
		p = append(p[:maxErrors:maxErrors], fmt.Errorf("and %d more", len(p)-maxErrors))
	}
	return errors.Join(p...)
}

// split takes joined errors apart.
func split(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, split(e)...)
	}
	return all
}
