package work

import (
	"bytes"
	"errors"
	"strings"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// lines are those of a file, escaped as parts of a JSON string.
type lines struct {
	texts   []string
	longest int
	taken   uint64 // by requests before the current one, and by it
	request uint64 // the last one that took a line, from 1
}

// splitLines reads a file. Empty lines are none, and neither is a carriage return at the end of one.
func splitLines(text []byte) (*lines, error) {
	l := new(lines)
	for one := range bytes.Lines(bytes.TrimPrefix(text, []byte("\ufeff"))) {
		one = bytes.TrimSuffix(bytes.TrimSuffix(one, []byte("\n")), []byte("\r"))
		if len(one) == 0 {
			continue
		}
		l.texts = append(l.texts, escapeJSON(string(one)))
		l.longest = max(l.longest, len(l.texts[len(l.texts)-1]))
	}
	if len(l.texts) == 0 {
		return nil, errors.New("has no line")
	}
	return l, nil
}

// inOrder is the line of a request: the same one wherever it has this file's.
func (l *lines) inOrder(request uint64, of Share) string {
	if l.request != request {
		l.request = request
		l.taken++
	}
	n := uint64(of.Index) + uint64(max(of.Of, 1))*(l.taken-1)
	return l.texts[n%uint64(len(l.texts))]
}

// separators end lines to some readers of JSON, and may stand in its strings.
var separators = strings.NewReplacer("\u2028", `\u2028`, "\u2029", `\u2029`)

// escapeJSON is a text as it stands within the quotes of a JSON string.
func escapeJSON(text string) string {
	quoted := mcp.AppendString(nil, text)
	return separators.Replace(string(quoted[1 : len(quoted)-1]))
}
