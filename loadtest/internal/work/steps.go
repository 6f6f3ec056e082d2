package work

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// place is a value in a file; its node is nil if it is not there.
type place struct {
	node *yaml.Node
	path string
}

// beginning is the step initialize, which is none of the script: it says how long sessions are.
type beginning struct {
	place
	calls int
}

// steps reads the list of them.
func (r *reader) steps(list *yaml.Node) (steps []Step, begin *beginning) {
	list = target(list)
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		r.fail(list, "steps", "is %s, but must be a list of at least one step, such as {tool: echo}", kindName(list))
		return nil, nil
	}
	if len(list.Content) > MaxSteps {
		r.fail(list.Content[MaxSteps], "steps", "%d are more than %d", len(list.Content), MaxSteps)
		return nil, nil
	}
	others, weight := 0, 0
	lines := make(map[string]int) // of the steps, by name
	for i, n := range list.Content {
		at := place{n, fmt.Sprintf("steps[%d]", i)}
		s, ok := r.step(at)
		switch {
		case !ok:
		case s.Method != mcp.MethodInitialize:
			if s.Name = r.unique(s, at, lines); s.Name != "" {
				others += s.Weight
				steps = append(steps, s)
			}
		case begin != nil:
			r.fail(n, at.path, "%s is already a step in line %d", s.Method, begin.node.Line)
		case len(s.Params) > 0:
			r.fail(n, at.path, "%s has no parameters here: clients say their own", s.Method)
		default:
			begin, weight = &beginning{place: at}, s.Weight
		}
	}
	switch {
	case begin == nil || len(r.errs) > 0:
	case len(steps) == 0:
		r.fail(begin.node, begin.path, "there is no other step, and a session has requests")
	case others < weight:
		r.fail(begin.node, begin.path, "%s weighs more than all other steps together, and a session has a request at least", mcp.MethodInitialize)
	default:
		begin.calls = others / weight
	}
	return steps, begin
}

// unique returns the name of a step: the one that somebody wrote, or one that no step before it has.
func (r *reader) unique(s Step, at place, lines map[string]int) string {
	name := s.Name
	if line := lines[name]; line > 0 {
		r.fail(at.node, within(at.path, "name"), "%q is the name of the step in line %d too", name, line)
		return ""
	}
	about, _ := aboutOf(s.Method, s.Params)
	for n := 1; name == "" || s.Name == "" && lines[name] > 0; n++ {
		name = stepName(s.Method, about, n)
	}
	lines[name] = at.node.Line
	return name
}

// forms are the keys that say what a step asks for: the method, and the member of its parameters that the key's value is.
var forms = []struct{ key, method, member string }{
	{"tool", mcp.MethodCallTool, "name"},
	{"prompt", methodGetPrompt, "name"},
	{"resource", methodReadResource, "uri"},
	{"method", "", ""},
}

// step reads one. Its name is empty if it has none.
func (r *reader) step(at place) (s Step, ok bool) {
	before := len(r.errs)
	places := make(map[string]place)
	var keys []key
	for _, name := range []string{"name", "weight", "tool", "args", "prompt", "resource", "method", "params"} {
		keys = append(keys, key{name, func(n *yaml.Node, path string) { places[name] = place{n, path} }})
	}
	r.mapping(at.node, at.path, keys)

	s.Weight = 1
	if p := places["weight"]; p.node != nil {
		s.Weight = r.number(p)
		r.check(p, checkWeight(s.Weight))
	}
	if p := places["name"]; p.node != nil {
		if s.Name = r.text(p); s.Name != "" {
			r.check(p, checkName(s.Name))
		}
	}
	if len(r.errs) == before {
		r.ask(&s, at, places)
	}
	return s, len(r.errs) == before
}

// ask reads what a step asks for.
func (r *reader) ask(s *Step, at place, places map[string]place) {
	var said []string
	form := forms[0]
	for _, f := range forms {
		if places[f.key].node != nil {
			said, form = append(said, f.key), f
		}
	}
	args, params := places["args"], places["params"]
	takesArgs := form.key == "tool" || form.key == "prompt"
	switch {
	case len(said) == 0:
		r.fail(at.node, at.path, "does not say what to ask: write one of tool, prompt, resource, method")
		return
	case len(said) > 1:
		r.fail(at.node, at.path, "says %s, but a step asks for one thing", strings.Join(said, " and "))
		return
	case args.node != nil && !takesArgs:
		r.fail(args.node, args.path, "are of a tool or a prompt; a method has params")
		return
	case params.node != nil && form.key != "method":
		r.fail(params.node, params.path, "are of a method; a tool or a prompt has args")
		return
	}
	what := places[form.key]
	if form.key == "method" {
		if s.Method = r.text(what); s.Method == "" {
			return
		}
		r.check(what, checkMethod(s.Method))
		if params.node != nil {
			s.Params = r.object(params)
		}
		if about, ok := aboutOf(s.Method, s.Params); named(s.Method) != "" && (!ok || about == "") {
			r.fail(at.node, at.path, "%s needs params with a text for %s", s.Method, named(s.Method))
		}
	} else {
		s.Method = form.method
		about := r.text(what)
		r.check(what, r.files.check(about))
		s.Params = append(s.Params, `{"`+form.member+`":"`+escapeJSON(about)+`"`...)
		if takesArgs && args.node != nil {
			s.Params = append(append(s.Params, `,"arguments":`...), r.object(args)...)
		} else if form.key == "tool" {
			s.Params = append(s.Params, `,"arguments":{}`...)
		}
		s.Params = append(s.Params, '}')
	}
	if r.size += len(s.Params); r.size > MaxText {
		r.fail(at.node, at.path, "the parameters up to this step are larger than %d bytes", MaxText)
	}
}

// aboutOf is the name or URI that parameters have for a method.
func aboutOf(method string, params []byte) (about string, ok bool) {
	members, _ := rawjson.Object(params)
	for key, value, more := members.Next(); more; key, value, more = members.Next() {
		if name, _ := rawjson.String(key); named(method) != "" && string(name) == named(method) {
			text, isText := rawjson.String(value)
			about, ok = string(text), isText
		}
	}
	return about, ok
}
