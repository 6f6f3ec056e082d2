package config

import (
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/erlmcp/erlmcp/internal/nearest"
)

// decoder lays one source over a configuration. It goes on after an error, to find all of them.
type decoder struct {
	name     string // of the source
	all      []leaf // of the whole configuration, for guesses
	origins  map[string]Origin
	problems *problems
}

// origin is where node stands in this source.
func (d *decoder) origin(node *yaml.Node) Origin {
	return Origin{d.name, node.Line, node.Column}
}

func (d *decoder) fail(node *yaml.Node, path, format string, args ...any) {
	d.problems.add(d.origin(node), path, format, args...)
}

// value decodes node into v, which has the values of the sources before.
func (d *decoder) value(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case isSection(v.Type()):
		d.section(node, v, path)
	case v.Kind() == reflect.Slice:
		d.list(node, v, path)
	default:
		d.origins[path] = d.origin(node)
		if node.Kind != yaml.ScalarNode {
			d.fail(node, path, "is %s, but must be %s", kindName(node), wanted(v.Type()))
			return
		}
		if err := setScalar(node, v); err != nil {
			d.fail(node, path, "%v", err)
		}
	}
}

// section decodes a mapping with fixed keys. One without any value, as after its keys were commented
// out, sets nothing.
func (d *decoder) section(node *yaml.Node, v reflect.Value, path string) {
	if isNull(node) {
		return
	}
	if node.Kind != yaml.MappingNode {
		d.fail(node, path, "is %s, but must hold keys: %s", kindName(node), strings.Join(keysOf(v.Type()), ", "))
		return
	}
	fields := fieldsOf(v.Type())
	lines := make(map[string]int, len(fields))
	for _, pair := range d.pairs(node, path) {
		key, child := pair.key, pair.value
		if key.Kind != yaml.ScalarNode {
			d.fail(key, path, "a key must be a word, but is %s", kindName(key))
			continue
		}
		if isExtension(path, key.Value) {
			continue
		}
		at := join(path, key.Value)
		if line, twice := lines[key.Value]; twice {
			if pair.merged {
				continue
			}
			d.fail(key, at, "is already set in line %d", line)
			continue
		}
		lines[key.Value] = key.Line
		known := false
		for _, f := range fields {
			if f.key == key.Value {
				known = true
				d.value(child, v.Field(f.index), at)
			}
		}
		if !known {
			d.fail(key, at, "unknown key%s", d.guess(key.Value, v.Type()))
		}
	}
}

// list decodes a sequence; it replaces the whole list of the sources before.
func (d *decoder) list(node *yaml.Node, v reflect.Value, path string) {
	d.origins[path] = d.origin(node)
	for known := range d.origins {
		if strings.HasPrefix(known, path+"[") {
			delete(d.origins, known)
		}
	}
	if node.Kind != yaml.SequenceNode && !isNull(node) {
		d.fail(node, path, "is %s, but must be a list", kindName(node))
		return
	}
	if len(node.Content) == 0 {
		v.SetZero()
		return
	}
	list := reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content))
	for i, child := range node.Content {
		d.value(child, list.Index(i), path+"["+strconv.Itoa(i)+"]")
	}
	v.Set(list)
}

// guess says which key was meant: one of this section that is spelled alike, or one of another
// section with that very name.
func (d *decoder) guess(key string, section reflect.Type) string {
	if near := nearest.Find(strings.ToLower(key), keysOf(section)); near != "" {
		return "; did you mean " + near + "?"
	}
	for _, l := range d.all {
		if strings.HasSuffix(l.path, "."+key) {
			return "; did you mean " + l.path + "?"
		}
	}
	return "; known are " + strings.Join(keysOf(section), ", ")
}

func keysOf(section reflect.Type) []string {
	var keys []string
	for _, f := range fieldsOf(section) {
		keys = append(keys, f.key)
	}
	return keys
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// kindName says what stands at a node.
func kindName(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(node):
		return "empty"
	}
	return strconv.Quote(node.Value)
}
