package want

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/nearest"
)

// Schema knows which figures a report has.
//
// It is made from the struct type that is written as JSON. The unit of a figure is what its JSON name ends with (_us, _ms, _s,
// _bytes, _percent, _per_second) or its struct tag says (unit:"us"); a figure beside a text "unit" has the unit that the text
// names. A number tagged zero:"never" is 0 when what it times did not happen, and one tagged of:"count" says nothing when the field
// of that name beside it is 0. Lists are addressed by the "name" of their elements; lists without are not addressed at all.
type Schema struct{ root *node }

// Of is the schema of reports of type T, a struct.
func Of[T any]() *Schema {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		panic("want: the type of a report is a struct, not " + t.String())
	}
	return &Schema{build(t, 0)}
}

// kind is what there is at a place of a report.
type kind int

const (
	other  kind = iota // text, time, truth, list without names: nothing to compare
	number             // a figure
	object             // fields
	named              // elements of a list by their name
	keyed              // values of a map by their key
)

// node is a place of a report.
type node struct {
	name    string // in JSON
	kind    kind
	unit    unit
	beside  bool    // the unit is the text beside it
	absent  bool    // left out when it is 0
	never   bool    // 0 says that it did not happen
	of      string  // the field beside it that is 0 when there was nothing to measure this of
	derived *figure // computed of others
	fields  []*node
	element *node
}

// maxDepth ends types that contain themselves.
const maxDepth = 12

func build(t reflect.Type, depth int) *node {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch marshaler := reflect.TypeFor[json.Marshaler](); {
	case depth > maxDepth:
		return &node{}
	case t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler):
		return written(t)
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return &node{kind: number}
	case reflect.Struct:
		return finish(&node{kind: object, fields: fieldsOf(t, depth)})
	case reflect.Slice, reflect.Array:
		return list(build(t.Elem(), depth+1))
	case reflect.Map:
		return keys(build(t.Elem(), depth+1))
	}
	return &node{}
}

func list(element *node) *node {
	if element.kind == object && element.field("name") != nil {
		return &node{kind: named, element: element}
	}
	return &node{}
}

func keys(element *node) *node {
	if element.kind == other {
		return element
	}
	// What is counted by cause and did not occur is not there.
	element.absent = element.kind == number
	return &node{kind: keyed, element: element}
}

func fieldsOf(t reflect.Type, depth int) (fields []*node) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			fields = append(fields, build(f.Type, depth+1).fields...)
			continue
		case !f.IsExported() || name == "-" && options == "":
			continue
		case name == "":
			name = f.Name
		}
		n := build(f.Type, depth+1)
		n.name, n.never, n.of = name, f.Tag.Get("zero") == "never", f.Tag.Get("of")
		n.absent = strings.Contains(options, "omit") && f.Type.Kind() != reflect.Pointer
		n.unit = unitOf(f.Tag.Get("unit"))
		if n.unit == (unit{}) {
			_, n.unit = suffixed(name)
		}
		fields = append(fields, n)
	}
	return fields
}

// finish adds to an object what its fields are about together.
func finish(n *node) *node {
	if u := n.field("unit"); u != nil && u.kind == other {
		for _, f := range n.fields {
			f.beside = f.kind == number && f.unit == (unit{})
		}
	}
	for i := range figures {
		if f := &figures[i]; f.in(n) && n.field(f.name) == nil {
			n.fields = append(n.fields, &node{name: f.name, kind: number, unit: f.unit, derived: f})
		}
	}
	return n
}

// written is the node of a type that writes its JSON itself: what it writes of a value with something everywhere.
func written(t reflect.Type) *node {
	v := reflect.New(t)
	fill(v.Elem(), 0)
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return &node{}
	}
	var value any
	if json.Unmarshal(text, &value) != nil {
		return &node{}
	}
	return shape(value)
}

func shape(value any) *node {
	switch value := value.(type) {
	case float64:
		return &node{kind: number}
	case map[string]any:
		n := &node{kind: object}
		for name, v := range value {
			field := shape(v)
			field.name = name
			_, field.unit = suffixed(name)
			n.fields = append(n.fields, field)
		}
		slices.SortFunc(n.fields, func(a, b *node) int { return strings.Compare(a.name, b.name) })
		return finish(n)
	case []any:
		if len(value) > 0 {
			return list(shape(value[0]))
		}
	}
	return &node{}
}

// fill puts something everywhere.
func fill(v reflect.Value, depth int) {
	if depth > maxDepth || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1)
	}
}

// field is the one with the name, or nil.
func (n *node) field(name string) *node {
	for _, f := range n.fields {
		if f.name == name {
			return f
		}
	}
	return nil
}

// matching are the fields that a word of a path may mean, the likeliest first: its own name, then a name without its unit.
func (n *node) matching(word string) (fields []*node) {
	if f := n.field(word); f != nil {
		fields = append(fields, f)
	}
	for _, f := range n.fields {
		if short, _ := suffixed(f.name); f.name != word && short == word {
			fields = append(fields, f)
		}
	}
	return fields
}

// step is one word of a path that was found.
type step struct {
	node *node  // what is there
	key  string // the element's name or key; "" if it is a field
	any  bool   // every element
}

// resolve finds the steps of a path, or nil. Names of elements may have dots in them: the shortest that makes sense counts.
func resolve(at *node, words []word) []step {
	if len(words) == 0 {
		if at.kind == number {
			return []step{}
		}
		return nil
	}
	if at.kind == object {
		if words[0].quoted {
			return nil
		}
		for _, f := range at.matching(words[0].text) {
			if rest := resolve(f, words[1:]); rest != nil {
				return append([]step{{node: f}}, rest...)
			}
		}
		return nil
	}
	if at.kind != named && at.kind != keyed {
		return nil
	}
	for n := 1; n <= len(words); n++ {
		if n > 1 && (words[0].quoted || words[n-1].quoted) {
			break
		}
		key := make([]string, n)
		for i, w := range words[:n] {
			key[i] = w.text
		}
		s := step{node: at.element, key: strings.Join(key, ".")}
		s.any = s.key == "*" && !words[0].quoted
		if rest := resolve(at.element, words[n:]); rest != nil {
			return append([]step{s}, rest...)
		}
	}
	return nil
}

// placeholder stands for the name of an element in listed paths.
const placeholder = "NAME"

// Paths are all figures, in the order of the report; NAME stands for the names of elements.
func (s *Schema) Paths() (paths []string) {
	var walk func(n *node, words []string)
	walk = func(n *node, words []string) {
		switch n.kind {
		case number:
			paths = append(paths, strings.Join(words, "."))
		case object:
			for _, f := range n.fields {
				walk(f, append(slices.Clip(words), f.name))
			}
		case named, keyed:
			walk(n.element, append(slices.Clip(words), placeholder))
		}
	}
	walk(s.root, nil)
	return paths
}

// nearestPaths are the figures that may have been meant, the likeliest first.
func (s *Schema) nearestPaths(words []word) []string {
	type candidate struct {
		path  string
		edits int
	}
	var candidates []candidate
	for _, path := range s.Paths() {
		candidates = append(candidates, candidate{path, distance(words, strings.Split(path, "."))})
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Or(a.edits-b.edits, len(a.path)-len(b.path)) })
	paths := make([]string, len(candidates))
	for i, c := range candidates {
		paths[i] = c.path
	}
	return paths
}

// distance is how many edits make a figure's path of what was written, with or without units, when words at the beginning may
// have been forgotten, at the price of one edit each.
func distance(written []word, path []string) int {
	text := make([]string, len(written))
	for i, w := range written {
		text[i] = w.text
	}
	whole := strings.Join(text, ".")
	whole = whole[:min(len(whole), 100)] // longer ones are like nothing
	fewest := -1
	for skipped := range path {
		full, short := make([]string, 0, len(path)), make([]string, 0, len(path))
		price := skipped
		for i, p := range path[skipped:] {
			if p == placeholder && i < len(text) {
				p = text[i]
				price++ // any name would do, which says little
			}
			bare, _ := suffixed(p)
			full, short = append(full, p), append(short, bare)
		}
		for _, form := range [][]string{full, short} {
			if edits := price + nearest.Distance(whole, strings.Join(form, ".")); fewest < 0 || edits < fewest {
				fewest = edits
			}
		}
	}
	return fewest
}
