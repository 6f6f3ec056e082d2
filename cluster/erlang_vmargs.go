package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// readVMArgs returns the lines of a release's vm.args without those that this program replaces: the
// name and the cookie. What is refused anywhere is refused here as well.
func readVMArgs(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kept []string
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(strings.TrimSuffix(line, "\r"))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		switch words[0] {
		case "-name", "-sname", "-setcookie":
			if len(words) == 2 {
				continue
			}
		}
		for _, word := range words {
			if why := managed(word); why != "" {
				return nil, &BuildError{
					Missing: fmt.Sprintf("%s:%d: %s is not allowed: %s", path, i+1, word, why),
					Advice:  "remove it from the vm.args of the project and build the release again",
				}
			}
		}
		if len(words) > 2 && words[0] == "-kernel" && words[1] == "inet_dist_use_interface" {
			continue
		}
		kept = append(kept, strings.Join(words, " "))
	}
	return kept, nil
}

// writeVMArgs writes what the release's script is to use instead of its own vm.args, and returns the
// name to tell it. A template stays one: the script replaces variables in PATH.src and writes PATH.
func (e *erlang) writeVMArgs(n topology.Node) (string, error) {
	path := filepath.Join(e.dir, n.Name+".vm.args")
	var lines []string
	if e.build.vmArgs != "" {
		var err error
		if lines, err = readVMArgs(e.build.vmArgs); err != nil {
			return "", err
		}
	}
	for _, flag := range e.flags(n) {
		lines = append(lines, strings.Join(flag, " "))
	}
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
