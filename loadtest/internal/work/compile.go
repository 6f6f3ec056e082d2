package work

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// compiled is a request behind its id: parts one after the other.
type compiled struct {
	parts   []piece
	longest int
	name    string // see Request; unless a part says where it is
}

// piece is a part with the file it needs.
type piece struct {
	part
	lines *lines
}

// compile makes a step ready. files are those there are, by name.
func compile(s Step, era mcp.Era, files map[string]*lines) (*compiled, error) {
	params, err := object(s.Params)
	if err != nil {
		return nil, err
	}
	complete, err := withMeta(params)
	if err != nil {
		return nil, err
	}
	if era == mcp.StatelessEra {
		params = complete
	}
	c := &compiler{files: files, member: named(s.Method)}
	c.text(`,"method":"` + escapeJSON(s.Method) + `"`)
	if params != nil {
		c.text(`,"params":`)
		if err := c.params(params); err != nil {
			return nil, err
		}
	}
	c.text("}\n")
	c.flush()
	if c.longest > MaxRequest {
		return nil, fmt.Errorf("a request can become %d bytes long, more than %d", c.longest, MaxRequest)
	}
	return &c.compiled, nil
}

// object reads parameters: nil if there are none.
func object(params json.RawMessage) ([]byte, error) {
	params = bytes.TrimSpace(params)
	if len(params) == 0 || string(params) == "null" {
		return nil, nil
	}
	var short bytes.Buffer
	switch {
	case !utf8.Valid(params):
		return nil, errors.New("is not UTF-8")
	case json.Compact(&short, params) != nil || short.Bytes()[0] != '{':
		return nil, fmt.Errorf("%s is not a JSON object such as {\"text\":\"hello\"}", quoteShort(string(params)))
	}
	return []byte(separators.Replace(short.String())), nil
}

// required is what _meta has in the stateless era (2026-07-28, Base Protocol, Requests).
var required = []struct{ key, value string }{
	{mcp.MetaProtocolVersion, `"` + mcp.Version20260728 + `"`},
	{mcp.MetaClientInfo, clientInfo},
	{mcp.MetaClientCapabilities, `{}`},
}

// withMeta adds to parameters, which may be none, what they lack in _meta.
func withMeta(params []byte) ([]byte, error) {
	out, meta := []byte{'{'}, []byte(nil)
	add := func(key string, value []byte) {
		if out[len(out)-1] != '{' {
			out = append(out, ',')
		}
		out = append(append(append(out, key...), ':'), value...)
	}
	members, _ := rawjson.Object(params)
	for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
		if name, _ := rawjson.String(key); string(name) == "_meta" {
			meta = value
			continue
		}
		add(string(key), value)
	}
	add(`"_meta"`, []byte{'{'})
	theirs := make(map[string]bool)
	if members, ok := rawjson.Object(meta); ok {
		for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
			name, _ := rawjson.String(key)
			theirs[string(name)] = true
			add(string(key), value)
		}
	} else if meta != nil {
		return nil, fmt.Errorf("_meta: %s is not a JSON object", quoteShort(string(meta)))
	}
	for _, r := range required {
		if !theirs[r.key] {
			add(`"`+r.key+`"`, []byte(r.value))
		}
	}
	return append(out, "}}"...), nil
}

// compiler makes pieces.
type compiler struct {
	compiled
	files  map[string]*lines
	member string // whose value is Request.Name
	plain  []byte // the literal under way
}

func (c *compiler) text(s string) { c.plain = append(c.plain, s...) }

func (c *compiler) flush() {
	if len(c.plain) > 0 {
		c.piece(part{text: string(c.plain)})
		c.plain = c.plain[:0]
	}
}

func (c *compiler) piece(p part) {
	c.parts = append(c.parts, piece{p, c.files[p.text]})
	c.longest += p.longest(c.files)
}

// params copies an object without white space, and takes templates out of the strings that are values.
func (c *compiler) params(object []byte) error {
	depth, named := 0, false
	for len(object) > 0 {
		switch object[0] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			n := stringLength(object)
			value := object[:n]
			object = object[n:]
			text, _ := rawjson.String(value)
			switch {
			case object[0] == ':':
				c.plain = append(c.plain, value...)
				named = depth == 1 && c.member != "" && string(text) == c.member
			default:
				if err := c.value(value, string(text), named); err != nil {
					return err
				}
				named = false
			}
			continue
		case ',':
			named = false
		}
		c.plain = append(c.plain, object[0])
		object = object[1:]
	}
	return nil
}

// value compiles a string that is one. The name of a request is always a text.
func (c *compiler) value(raw []byte, text string, named bool) error {
	parts, err := parseTemplate(text)
	if err != nil {
		return err
	}
	for _, name := range filesOf(parts) {
		if c.files[name] == nil {
			return fmt.Errorf("the file %q is missing", name)
		}
	}
	if named {
		c.name = ""
	}
	switch {
	case len(parts) == 1 && parts[0].numeric() && !named:
		c.flush()
		c.piece(parts[0])
		return nil
	case len(parts) == 0 || len(parts) == 1 && parts[0].kind == literal:
		if len(parts) == 1 && parts[0].text != text { // there were escapes
			raw, text = []byte(`"`+escapeJSON(parts[0].text)+`"`), parts[0].text
		}
		if c.plain = append(c.plain, raw...); named {
			c.name = text
		}
		return nil
	}
	if named {
		c.flush()
		c.piece(part{kind: nameBegins})
	}
	c.text(`"`)
	for _, p := range parts {
		if p.kind == literal {
			c.text(escapeJSON(p.text))
			continue
		}
		c.flush()
		c.piece(p)
	}
	c.text(`"`)
	if named {
		c.flush()
		c.piece(part{kind: nameEnds})
	}
	return nil
}

// stringLength is how long the string is that valid JSON begins with, quotes included.
func stringLength(p []byte) int {
	for i := 1; ; i++ {
		switch p[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}
