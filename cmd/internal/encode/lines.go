package encode

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
)

// Lines writes each line of a node as an object. What is no UTF-8 in it becomes U+FFFD.
func Lines(out io.Writer) func(node string, line []byte) error {
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
		return JSONLine(out, object)
	}
}
