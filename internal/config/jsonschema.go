package config

import (
	"reflect"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// JSONSchema describes the file for editors and validators, as JSON Schema of 2020-12: every key, what it is for, its
// default, and what its value looks like. What depends on more than one key, or on this machine, is left to Load.
func JSONSchema() map[string]any {
	defaults := reflect.ValueOf(Default()).Elem()
	schema := sectionSchema(defaults, "")
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "erlmcp"
	schema["description"] = "The configuration of erlmcp, " + FileName + "."
	schema["patternProperties"] = map[string]any{"^x-": map[string]any{"description": "Not read; for YAML anchors."}}
	return schema
}

func sectionSchema(v reflect.Value, path string) map[string]any {
	properties := make(map[string]any)
	for _, f := range fieldsOf(v.Type()) {
		key := join(path, f.key)
		properties[f.key] = valueSchema(v.Field(f.index), key)
	}
	schema := map[string]any{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
	describeKey(schema, path)
	return schema
}

// describeKey adds to a schema what the key at path is for.
func describeKey(schema map[string]any, path string) {
	if text := comments[path]; text != "" {
		schema["description"] = text
	}
}

func valueSchema(v reflect.Value, path string) map[string]any {
	t := v.Type()
	switch {
	case isSection(t):
		return sectionSchema(v, path)
	case t.Kind() == reflect.Slice:
		schema := map[string]any{"type": []string{"array", "null"}, "items": elementSchema(t.Elem(), path)}
		describeKey(schema, path)
		return schema
	}
	schema := scalarSchema(t)
	if words := enums[path]; words != nil {
		schema = map[string]any{"enum": words}
	}
	describeKey(schema, path)
	schema["default"] = plainValue(v)
	return schema
}

// elementSchema is that of the elements of the list at path.
func elementSchema(t reflect.Type, path string) map[string]any {
	if words := enums[path]; words != nil {
		return map[string]any{"enum": words}
	}
	if !isSection(t) {
		return scalarSchema(t)
	}
	properties := make(map[string]any)
	for _, f := range fieldsOf(t) {
		property := valueSchema(reflect.Zero(t.Field(f.index).Type), "")
		delete(property, "default") // of an element nothing is known
		if t == nodeType {
			if text := nodeComments[f.key]; text != "" {
				property["description"] = text
			}
		}
		properties[f.key] = property
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if t == nodeType {
		schema["required"] = []string{"name"}
	}
	return schema
}

var nodeType = reflect.TypeFor[topology.Node]()

// nodeComments explain the keys of a node.
var nodeComments = map[string]string{
	"name":   "1 to 32 of a-z, 0-9, _ and -.",
	"host":   "Address or host name; 127.0.0.1 by default. A name like _mcp._tcp.example.com is a service: each target of its SRV records is a node.",
	"tcp":    "Port of newline-delimited JSON-RPC.",
	"http":   "Port of Streamable HTTP and WebSocket.",
	"sse":    "Port of the legacy HTTP+SSE transport.",
	"path":   "Path of the MCP endpoint over HTTP; /mcp by default.",
	"url":    "Host, port and path of the MCP endpoint in one. With https, the balancer speaks TLS to the node.",
	"weight": "Share of the clients relative to other nodes, 1 to 256; 1 by default.",
}

// scalarSchema is that of a value of one type, as setScalar reads it.
func scalarSchema(t reflect.Type) map[string]any {
	switch t {
	case durationType:
		return map[string]any{"type": "string", "pattern": `^(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*)$`}
	case bytesType:
		return map[string]any{"type": []string{"string", "integer"}, "pattern": `^ *[0-9]+ *([kKmMgGtT]([iI]?[bB])?|[bB])? *$`, "minimum": 0}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return map[string]any{"type": "string"}
	}
	if reflect.PointerTo(t).Implements(textType) {
		return map[string]any{"type": "string"}
	}
	panic("config: no schema of a " + t.String())
}
