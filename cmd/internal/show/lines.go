package show

import (
	"bytes"
	"fmt"

	"github.com/erlmcp/erlmcp/internal/term"
)

// nodeStyles tell neighbours apart; 35 is magenta, 34 blue.
var nodeStyles = []term.Style{term.Cyan, term.Yellow, term.Green, "35", "34"}

// Lines prints lines behind the name of their node, aligned as far as names are known.
func Lines(out *term.Output, names []string) func(node string, line []byte) error {
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	prefixes := map[string]string{}
	prefix := func(node string) string {
		if _, known := prefixes[node]; !known {
			style := nodeStyles[len(prefixes)%len(nodeStyles)]
			prefixes[node] = out.Paint(style, fmt.Sprintf("%-*s |", width, node)) + " "
		}
		return prefixes[node]
	}
	for _, name := range names {
		prefix(name)
	}
	return func(node string, line []byte) error {
		reset := ""
		if out.Color() && bytes.IndexByte(line, '\x1b') >= 0 {
			reset = "\x1b[0m" // a color that the node chose ends with its line
		}
		_, err := fmt.Fprintf(out, "%s%s%s\n", prefix(node), line, reset)
		return err
	}
}
