package burst

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Program is what makes the load.
type Program struct {
	Path    string
	Version string // empty: it does not say
}

// Package is what installs a program.
type Package struct{ System, Command string }

// MissingError says that a program is not there, or is not one that can be used.
type MissingError struct {
	Program string
	Why     string // empty: there is none in PATH
}

func (e *MissingError) Error() string {
	if e.Why == "" {
		return e.Program + " is not in PATH"
	}
	return e.Program + " " + e.Why
}

// Hint is what installs the program.
func (e *MissingError) Hint() string { return Installs(e.Program) }

var packages = map[string][]Package{
	wrkName: {
		{"Debian", "sudo apt-get install wrk"}, {"Fedora", "sudo dnf install wrk"},
		{"Alpine", "apk add wrk"}, {"Homebrew", "brew install wrk"},
	},
	abName: {
		{"Debian", "sudo apt-get install apache2-utils"}, {"Fedora", "sudo dnf install httpd-tools"},
		{"Alpine", "apk add apache2-utils"}, {"Homebrew", "brew install httpd"},
	},
}

// Installs is what to do to have a program: a command of Debian's, and those of others behind it.
func Installs(program string) string {
	var first string
	var others []string
	for i, p := range packages[program] {
		if i == 0 {
			first = p.Command
			continue
		}
		others = append(others, p.System+": "+p.Command)
	}
	if first == "" {
		return ""
	}
	return first + " (" + strings.Join(others, "; ") + ")"
}

// asking is how long a program may take to tell its version.
const asking = 5 * time.Second

// find looks for a program, and for its version in what it prints when it is asked. Some end with an error then.
func find(ctx context.Context, name, flag string, version func(said string) (string, error)) (Program, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return Program{}, &MissingError{Program: name}
	}
	c := command{name: name, path: path, args: []string{flag}, patience: asking, most: 64 << 10}
	o, err := c.run(ctx)
	if ctx.Err() != nil {
		return Program{}, context.Cause(ctx)
	}
	said := string(o.stdout) + "\n" + o.stderr
	v, strange := version(said)
	switch {
	case strange == nil:
		return Program{path, v}, nil
	case err != nil:
		return Program{}, &MissingError{name, fmt.Sprintf("(%s) does not tell its version: %v", path, err)}
	}
	return Program{}, &MissingError{name, fmt.Sprintf("(%s) %v", path, strange)}
}
