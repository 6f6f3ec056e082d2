package config

import (
	"bytes"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Annotate returns what to write about the key at path: a comment above it and one behind its value.
// Sections have no value.
type Annotate func(path string) (above, behind string)

// Print writes c as a file that Load reads, one section after the other. A list of nodes is written
// one node a line.
func (c *Config) Print(w io.Writer, annotate Annotate) error {
	root := reflect.ValueOf(c).Elem()
	for i, f := range fieldsOf(root.Type()) {
		if i > 0 {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		var out bytes.Buffer
		enc := yaml.NewEncoder(&out)
		enc.SetIndent(2)
		section := &yaml.Node{Kind: yaml.MappingNode}
		addKey(section, f, root.Field(f.index), "", annotate)
		if err := enc.Encode(section); err != nil {
			return fmt.Errorf("print %s: %w", f.key, err)
		}
		if _, err := out.WriteTo(w); err != nil {
			return err
		}
	}
	return nil
}

// Document returns c as maps and lists of plain values, for encoding in another format.
func (c *Config) Document() (map[string]any, error) {
	var out bytes.Buffer
	if err := c.Print(&out, Plain); err != nil {
		return nil, err
	}
	var document map[string]any
	err := yaml.Unmarshal(out.Bytes(), &document)
	return document, err
}

// Plain annotates nothing.
func Plain(string) (above, behind string) { return "", "" }

// Explained writes above every key what it is for.
func Explained(path string) (above, behind string) { return comments[path], "" }

// WithOrigins writes behind every value where it comes from.
func (c *Config) WithOrigins(path string) (above, behind string) { return "", c.origins[path].String() }

// addKey appends a key and its value to a mapping.
func addKey(mapping *yaml.Node, f field, v reflect.Value, path string, annotate Annotate) {
	if f.omitEmpty && v.IsZero() {
		return
	}
	path = join(path, f.key)
	above, behind := annotate(path)
	key := &yaml.Node{Kind: yaml.ScalarNode, Value: f.key, HeadComment: above}
	value := nodeOf(v, path, annotate)
	if value.Kind != yaml.MappingNode && behind != "" {
		at := value
		if value.Kind == yaml.SequenceNode && value.Style == 0 {
			at = key
		}
		at.LineComment = behind
	}
	mapping.Content = append(mapping.Content, key, value)
}

// nodeOf is v as YAML.
func nodeOf(v reflect.Value, path string, annotate Annotate) *yaml.Node {
	switch {
	case isSection(v.Type()):
		section := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range fieldsOf(v.Type()) {
			addKey(section, f, v.Field(f.index), path, annotate)
		}
		return section
	case v.Kind() == reflect.Slice:
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for i := range v.Len() {
			item := nodeOf(v.Index(i), path, Plain)
			if item.Kind == yaml.MappingNode {
				item.Style, list.Style = yaml.FlowStyle, 0
			}
			list.Content = append(list.Content, item)
		}
		return list
	}
	var scalar yaml.Node
	if err := scalar.Encode(plainValue(v)); err != nil {
		panic("config: no way to print a " + v.Type().String())
	}
	return &scalar
}

// plainValue is a scalar as YAML knows it.
func plainValue(v reflect.Value) any {
	if d, ok := v.Interface().(time.Duration); ok {
		return durationText(d)
	}
	if text, ok := v.Interface().(encoding.TextMarshaler); ok {
		if b, err := text.MarshalText(); err == nil {
			return string(b)
		}
	}
	return v.Interface()
}

// durationText is d without the zeros of time.Duration.String: 30m instead of 30m0s.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Value is one leaf and where it comes from.
type Value struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"`
}

// Values lists all leaves in the order of the file.
func (c *Config) Values() []Value {
	root := reflect.ValueOf(c).Elem()
	var values []Value
	for _, l := range leavesOf(root.Type(), "") {
		v, _ := at(root, l.path)
		var value any
		if err := nodeOf(v, l.path, Plain).Decode(&value); err != nil {
			panic("config: " + l.path + " is printed as what cannot be read: " + err.Error())
		}
		values = append(values, Value{l.path, value, c.origins[l.path].String()})
	}
	return values
}
