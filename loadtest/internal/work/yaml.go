package work

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxDepth bounds how deep parameters may be nested.
const maxDepth = 64

// target is what a node stands for.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// kindName says what stands at a node.
func kindName(n *yaml.Node) string {
	switch n = target(n); {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode && len(n.Content) == 0:
		return "an empty list"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null", n.Value == "":
		return "empty"
	}
	return quoteShort(n.Value)
}

// check notes what is wrong with a value, if it is.
func (r *reader) check(p place, err error) {
	if err != nil {
		r.fail(p.node, p.path, "%w", err)
	}
}

// text reads a text; "" of anything else, which is an error.
func (r *reader) text(p place) string {
	n := target(p.node)
	if n.Kind != yaml.ScalarNode || n.Value == "" || n.ShortTag() == "!!null" {
		r.fail(p.node, p.path, "is %s, but must be a text", kindName(n))
		return ""
	}
	return n.Value
}

// number reads a whole number.
func (r *reader) number(p place) int {
	n := target(p.node)
	i, err := strconv.Atoi(strings.ReplaceAll(n.Value, "_", ""))
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
		r.fail(p.node, p.path, "is %s, but must be a whole number", kindName(n))
		return 1
	}
	return i
}

// think reads a time, or two with a hyphen between them.
func (r *reader) think(p place) (t Think) {
	text := r.text(p)
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	var err1, err2 error
	t.From, err1 = time.ParseDuration(strings.TrimSpace(from))
	t.To, err2 = time.ParseDuration(strings.TrimSpace(to))
	switch {
	case text == "":
	case err1 != nil || err2 != nil:
		r.fail(p.node, p.path, "%s is not a time such as 2s, or a range such as 1s-3s", quoteShort(text))
	case t.From <= 0 || t.To < t.From || t.To > MaxThink:
		r.fail(p.node, p.path, "%s is not within 0s and %s, the shorter time first", quoteShort(text), MaxThink)
	}
	return t
}

// object reads a mapping as a JSON object.
func (r *reader) object(p place) []byte {
	if n := target(p.node); n.Kind != yaml.MappingNode {
		r.fail(p.node, p.path, "is %s, but must be a mapping such as {text: hello}", kindName(n))
		return nil
	}
	return r.json(nil, p, 0)
}

// json appends a value as JSON. Texts in it are templates.
func (r *reader) json(dst []byte, p place, depth int) []byte {
	n := target(p.node)
	switch {
	case len(r.errs) > maxErrors || r.size+len(dst) > MaxText: // which is an error elsewhere
		return append(dst, "null"...)
	case depth > maxDepth:
		r.fail(p.node, p.path[:len(p.path)/8]+"…", "is nested more than %d deep", maxDepth)
	case n.Kind == yaml.MappingNode:
		return r.members(dst, n, p.path, depth)
	case n.Kind == yaml.SequenceNode:
		dst = append(dst, '[')
		for i, item := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = r.json(dst, place{item, fmt.Sprintf("%s[%d]", p.path, i)}, depth+1)
		}
		return append(dst, ']')
	case n.Kind == yaml.ScalarNode:
		return r.scalar(dst, n, p)
	}
	return append(dst, "null"...)
}

func (r *reader) members(dst []byte, n *yaml.Node, path string, depth int) []byte {
	dst = append(dst, '{')
	lines := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := target(n.Content[i])
		at := within(path, k.Value)
		switch {
		case k.Kind == yaml.MappingNode:
			r.fail(k, path, "a key must be a text, but is a mapping; a template is written in quotes: %q", "{{$counter}}")
			continue
		case k.Kind != yaml.ScalarNode:
			r.fail(k, path, "a key must be a text, but is %s", kindName(k))
			continue
		case k.ShortTag() == "!!merge":
			r.fail(k, at, "merging is not for parameters; write them out")
			continue
		case lines[k.Value] > 0:
			r.fail(k, at, "is already set in line %d", lines[k.Value])
			continue
		}
		lines[k.Value] = k.Line
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), escapeJSON(k.Value)...), `":`...)
		dst = r.json(dst, place{n.Content[i+1], at}, depth+1)
	}
	return append(dst, '}')
}

// scalar appends a text, number, boolean or null. Dates are texts.
func (r *reader) scalar(dst []byte, n *yaml.Node, p place) []byte {
	var value any
	var err error
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		if err := r.files.check(n.Value); err != nil {
			r.fail(p.node, p.path, "%w", err)
		}
		return append(append(append(dst, '"'), escapeJSON(n.Value)...), '"')
	case "!!null":
	case "!!bool", "!!int", "!!float":
		err = n.Decode(&value)
	default:
		err = fmt.Errorf("%s is no kind of value that JSON has", n.Tag)
	}
	if f, ok := value.(float64); ok && err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
		err = fmt.Errorf("%s is no number in JSON", n.Value)
	}
	if err != nil {
		r.fail(p.node, p.path, "%w", err)
		return append(dst, "null"...)
	}
	text, err := json.Marshal(value)
	if err != nil {
		r.fail(p.node, p.path, "%w", err)
		return append(dst, "null"...)
	}
	return append(dst, text...)
}
