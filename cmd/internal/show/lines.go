package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/erlmcp/erlmcp/internal/term"
)

// JSONLines prints each line as an object. What is no UTF-8 in it becomes U+FFFD.
func JSONLines(out io.Writer) func(node string, line []byte) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return func(node string, line []byte) error {
		object := struct {
			Node  string          `json:"node"`
			Entry json.RawMessage `json:"entry,omitempty"`
			Line  *string         `json:"line,omitempty"`
		}{Node: node}
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] == '{' && json.Valid(text) {
			object.Entry = text
		} else {
			text := strings.ToValidUTF8(string(line), "\uFFFD")
			object.Line = &text
		}
		return enc.Encode(object)
	}
}

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
