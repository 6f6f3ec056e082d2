package work

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// FromTool returns work of one step, the call of a tool. args is a JSON object, or @FILE where one stands; "" is {}. Files in
// its templates are read; their names are relative to the working directory.
func FromTool(name, args string) (Work, error) {
	where, text := "--args", []byte(args)
	if at, ok := strings.CutPrefix(args, "@"); ok {
		var err error
		if text, err = readFile(at); err != nil {
			return Work{}, fmt.Errorf("--args: %w", err)
		}
		where = at
	}
	bad := func(err error) (Work, error) { return Work{}, &Error{Where: where, Err: err} }
	if len(text) > MaxText {
		return bad(fmt.Errorf("arguments of more than %d bytes", MaxText))
	}
	if strings.TrimSpace(string(text)) == "" {
		text = []byte("{}")
	}
	arguments, err := object(text)
	if err == nil && arguments == nil {
		err = errors.New("null is not a JSON object")
	}
	if err != nil {
		return bad(err)
	}
	if name == "" {
		return Work{}, &Error{Where: "--tool", Err: errors.New("is empty, but a tool has a name")}
	}
	var f files
	if err := f.check(name); err != nil {
		return Work{}, &Error{Where: "--tool", Err: err}
	}
	if err := eachText(arguments, f.check); err != nil {
		return bad(err)
	}
	w := Work{Files: f.texts, Steps: []Step{{
		Name: stepName(mcp.MethodCallTool, name, 1), Method: mcp.MethodCallTool, Weight: 1,
		Params: fmt.Appendf(nil, `{"name":"%s","arguments":%s}`, escapeJSON(name), arguments),
	}}}
	if _, err := w.Compile(); err != nil {
		return bad(err)
	}
	return w, nil
}

// check takes a text for a template, and reads the files that it names.
func (f *files) check(text string) error {
	parts, err := parseTemplate(text)
	if err != nil {
		return err
	}
	for _, name := range filesOf(parts) {
		if err := f.add(name); err != nil {
			return err
		}
	}
	return nil
}

// eachText calls for every string that is a value within valid JSON. Errors say where.
func eachText(value []byte, do func(string) error) error {
	switch rawjson.Kind(value) {
	case '"':
		text, _ := rawjson.String(value)
		return do(string(text))
	case '{':
		members, _ := rawjson.Object(value)
		for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
			if err := eachText(value, do); err != nil {
				name, _ := rawjson.String(key)
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	case '[':
		elements, _ := rawjson.Array(value)
		i := 0
		for value, ok := elements.Next(); ok; value, ok = elements.Next() {
			if err := eachText(value, do); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
			i++
		}
	}
	return nil
}

// stepName is what a step is called that has no name: its method, and what it is about; the second one of that, and so on,
// with a number.
func stepName(method, about string, n int) string {
	name := []rune(method)
	if about != "" {
		name = append(append(name, ' '), []rune(about)...)
	}
	for i, r := range name {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			name[i] = '?'
		}
	}
	suffix := ""
	if n > 1 {
		suffix = fmt.Sprintf(" #%d", n)
	}
	if most := MaxName - len(suffix); len(name) > most {
		name = append(name[:most-1], '…')
	}
	return string(name) + suffix
}
