package work

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/erlmcp/erlmcp/internal/nearest"
)

// ReadScenario returns the work that a file of YAML describes, see docs/scenario.md: its steps, think time and sessions, with
// the files that its templates name, relative to its own directory. Era, verification and naming are not a scenario's. It
// reports all that is wrong, as joined *Error where that has a place in the file.
func ReadScenario(name string) (Work, error) {
	text, err := readFile(name)
	if err != nil {
		return Work{}, err
	}
	return parseScenario(name, text, &files{dir: filepath.Dir(name)})
}

func parseScenario(name string, text []byte, f *files) (Work, error) {
	r := &reader{where: name, files: f}
	var w Work
	if root := r.document(text); root != nil {
		w = r.scenario(root)
	}
	if len(r.errs) > 0 {
		return Work{}, join(r.errs)
	}
	if _, err := w.Compile(); err != nil {
		return Work{}, &Error{Where: name, Err: err}
	}
	return w, nil
}

// reader reads one file. It goes on after an error, to find all of them.
type reader struct {
	where string
	files *files
	errs  []error
	size  int // of all parameters so far
}

func (r *reader) fail(n *yaml.Node, path, format string, args ...any) {
	r.errs = append(r.errs, &Error{r.where, n.Line, n.Column, path, fmt.Errorf(format, args...)})
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// document returns the value of the one document of a file.
func (r *reader) document(text []byte) *yaml.Node {
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	var document, second yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		r.fail(&yaml.Node{}, "", "there is nothing in it; a scenario has steps")
		return nil
	}
	if err == nil {
		if err = decoder.Decode(&second); err == nil {
			r.fail(&second, "", "a second document begins here, but only one is read")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		at := new(yaml.Node)
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			at.Line, _ = strconv.Atoi(m[1])
		}
		r.fail(at, "", "%s", yamlLine.ReplaceAllString(err.Error(), ""))
		return nil
	}
	return document.Content[0]
}

// key is one that a mapping may have.
type key struct {
	name string
	read func(n *yaml.Node, path string)
}

// mapping reads one with fixed keys.
func (r *reader) mapping(n *yaml.Node, path string, keys []key) {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	n = target(n)
	if n.Kind != yaml.MappingNode {
		r.fail(n, path, "is %s, but must have keys of %s", kindName(n), strings.Join(names, ", "))
		return
	}
	lines := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], n.Content[i+1]
		at := within(path, k.Value)
		if k.Kind != yaml.ScalarNode {
			r.fail(k, path, "a key must be a word, but is %s", kindName(k))
			continue
		}
		if line, twice := lines[k.Value]; twice {
			r.fail(k, at, "is already set in line %d", line)
			continue
		}
		lines[k.Value] = k.Line
		known := false
		for _, key := range keys {
			if key.name == k.Value {
				known = true
				key.read(value, at)
			}
		}
		if !known {
			guess := "; known are " + strings.Join(names, ", ")
			if near := nearest.Find(strings.ToLower(k.Value), names); near != "" {
				guess = "; did you mean " + near + "?"
			}
			r.fail(k, at, "unknown key%s", guess)
		}
	}
}

func within(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// scenario reads the whole.
func (r *reader) scenario(root *yaml.Node) (w Work) {
	var steps, session *yaml.Node
	r.mapping(root, "", []key{
		{"steps", func(n *yaml.Node, _ string) { steps = n }},
		{"think", func(n *yaml.Node, path string) { w.Think = r.think(place{n, path}) }},
		{"session", func(n *yaml.Node, path string) {
			session = n
			r.mapping(n, path, []key{{"calls", func(n *yaml.Node, path string) { w.Session.Calls = r.calls(place{n, path}) }}})
			if w.Session.Calls == 0 && len(r.errs) == 0 {
				r.fail(n, path, "does not say how long one is; {calls: 20} are sessions of twenty requests")
			}
		}},
	})
	switch {
	case steps == nil && len(r.errs) == 0:
		r.fail(root, "steps", "are missing: a scenario has at least one step, such as {tool: echo}")
	case steps != nil:
		var begin *beginning
		if w.Steps, begin = r.steps(steps); begin == nil {
			break
		}
		if session != nil {
			r.fail(begin.node, begin.path, "begins a session, of which line %d says already how long it is: leave one of them out", session.Line)
		}
		w.Session.Calls = begin.calls
	}
	w.Files = r.files.texts
	return w
}

// calls reads how many requests a session has.
func (r *reader) calls(p place) int {
	n := r.number(p)
	if n < 1 || n > MaxSessions {
		r.fail(p.node, p.path, "%d is not between 1 and %d", n, MaxSessions)
	}
	return n
}
