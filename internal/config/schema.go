package config

import (
	"encoding"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/units"
)

// field is one key of a section.
type field struct {
	key       string
	index     int
	omitEmpty bool
}

// fieldsOf lists the keys of a section in the order of the struct. Fields without a yaml tag, and
// those with "-", are no keys.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		key, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if key != "" && key != "-" {
			fields = append(fields, field{key, i, slices.Contains(strings.Split(options, ","), "omitempty")})
		}
	}
	return fields
}

var (
	bytesType    = reflect.TypeFor[units.Bytes]()
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isSection reports whether a value of type t is written as a mapping with fixed keys.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(textType)
}

// leaf is a key that holds a value: a scalar or a list.
type leaf struct {
	path string // "lb.limits.exempt"
	typ  reflect.Type
}

// env is the environment variable that sets the leaf.
func (l leaf) env() string {
	return "ERLMCP_" + strings.ToUpper(strings.ReplaceAll(l.path, ".", "_"))
}

// leavesOf lists the leaves of a section in order. What is inside of a list is part of the list.
func leavesOf(t reflect.Type, path string) []leaf {
	var leaves []leaf
	for _, f := range fieldsOf(t) {
		at, ft := join(path, f.key), t.Field(f.index).Type
		if isSection(ft) {
			leaves = append(leaves, leavesOf(ft, at)...)
		} else {
			leaves = append(leaves, leaf{at, ft})
		}
	}
	return leaves
}

// join appends a key to a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// at returns the settable value of the leaf at path in the section v.
func at(v reflect.Value, path string) (reflect.Value, bool) {
	key, rest, deeper := strings.Cut(path, ".")
	for _, f := range fieldsOf(v.Type()) {
		if f.key != key {
			continue
		}
		child := v.Field(f.index)
		switch {
		case !deeper:
			return child, !isSection(child.Type())
		case isSection(child.Type()):
			return at(child, rest)
		}
	}
	return reflect.Value{}, false
}
