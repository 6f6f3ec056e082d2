package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// extraFlag ends the flags: what comes after it is for the application.
const extraFlag = "-extra"

// beforeExtra are the words of a command line of erl that are read as flags, and the rest of it.
func beforeExtra(words []string) (flags, extra []string) {
	if i := slices.Index(words, extraFlag); i >= 0 {
		return words[:i], words[i:]
	}
	return words, nil
}

// vmArgs are the lines of a vm.args.
type vmArgs struct {
	flags []string
	extra []string // from -extra on
}

// readVMArgs returns the lines of a release's vm.args without those that this program replaces: the
// name and the cookie. What is refused anywhere is refused here as well.
func readVMArgs(path string) (vmArgs, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return vmArgs{}, err
	}
	var kept vmArgs
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(strings.TrimSuffix(line, "\r"))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if kept.extra != nil {
			kept.extra = append(kept.extra, strings.Join(words, " "))
			continue
		}
		flags, extra := beforeExtra(words)
		if extra != nil {
			kept.extra = []string{strings.Join(extra, " ")}
		}
		if isReplaced(flags) {
			continue
		}
		for _, word := range flags {
			if why := managed(word); why != "" {
				return vmArgs{}, advice.With(fmt.Errorf("%s:%d: %s is not allowed: %s", path, i+1, word, why),
					"remove it from the vm.args of the project and build the release again")
			}
		}
		kept.flags = append(kept.flags, strings.Join(flags, " "))
	}
	return kept, nil
}

// isReplaced reports whether a line of vm.args says nothing but what this program says itself.
func isReplaced(words []string) bool {
	if len(words) == 0 {
		return true
	}
	switch words[0] {
	case "-name", "-sname", "-setcookie":
		return len(words) == 2
	case "-kernel":
		return len(words) > 2 && words[1] == "inet_dist_use_interface"
	}
	return false
}

// writeVMArgs writes what the release's script is to use instead of its own vm.args into the node's
// directory, and returns the name to tell it. A template stays one: the script replaces variables in
// PATH.src and writes PATH.
func (e *erlang) writeVMArgs(n topology.Node) (string, error) {
	path := filepath.Join(e.home(n), "vm.args")
	var own vmArgs
	if e.build.vmArgs != "" {
		var err error
		if own, err = readVMArgs(e.build.vmArgs); err != nil {
			return "", err
		}
	}
	lines := own.flags
	for _, flag := range e.flags(n) {
		lines = append(lines, strings.Join(flag, " "))
	}
	lines = append(lines, own.extra...)
	written := path
	for _, suffix := range []string{"", ".src", ".orig"} { // of another start; each would be preferred
		if err := os.Remove(path + suffix); err != nil && !os.IsNotExist(err) {
			return "", fmt.Errorf("write %s: %w", path, err)
		}
	}
	if strings.HasSuffix(e.build.vmArgs, ".src") {
		written += ".src"
	}
	err := os.WriteFile(written, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
	return path, err
}
