package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// conforms is as much of a validator of JSON Schema as the schema of the file needs. It fails for what it does not know.
func conforms(schema map[string]any, v any, path string) error {
	for keyword, want := range schema {
		switch keyword {
		case "$schema", "title", "description", "default", "properties", "patternProperties", "additionalProperties":
		case "type":
			types := []any{want}
			if list, ok := want.([]any); ok {
				types = list
			}
			if !slices.ContainsFunc(types, func(t any) bool { return isOfType(v, t.(string)) }) {
				return fmt.Errorf("%s: %v is not of type %v", path, v, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				return fmt.Errorf("%s: %v is not one of %v", path, v, want)
			}
		case "pattern":
			if text, ok := v.(string); ok && !regexp.MustCompile(want.(string)).MatchString(text) {
				return fmt.Errorf("%s: %q does not match %s", path, text, want)
			}
		case "minimum":
			if n, ok := v.(float64); ok && n < want.(float64) {
				return fmt.Errorf("%s: %v is less than %v", path, n, want)
			}
		case "items":
			list, _ := v.([]any)
			for i, item := range list {
				if err := conforms(want.(map[string]any), item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
					return err
				}
			}
		case "required":
			for _, key := range want.([]any) {
				if object, ok := v.(map[string]any); ok && object[key.(string)] == nil {
					return fmt.Errorf("%s.%s is missing", path, key)
				}
			}
		default:
			return fmt.Errorf("%s: keyword %s", path, keyword)
		}
	}
	object, _ := v.(map[string]any)
	properties, _ := schema["properties"].(map[string]any)
	patterns, _ := schema["patternProperties"].(map[string]any)
	for key, value := range object {
		property, known := properties[key].(map[string]any)
		for pattern := range patterns {
			known = known || regexp.MustCompile(pattern).MatchString(key)
		}
		if !known && schema["additionalProperties"] == false {
			return fmt.Errorf("%s: unknown key %s", path, key)
		}
		if err := conforms(property, value, path+"."+key); err != nil {
			return err
		}
	}
	return nil
}

func isOfType(v any, name string) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == float64(int64(v))
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}

// asJSON is a value with the types that encoding/json has.
func asJSON(t *testing.T, v any) (decoded any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &decoded)
	}
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

func schemaOf(t *testing.T) map[string]any { return asJSON(t, JSONSchema()).(map[string]any) }

func againstSchema(t *testing.T, text []byte) error {
	t.Helper()
	var document any
	if err := yaml.Unmarshal(text, &document); err != nil {
		return err
	}
	if _, err := json.Marshal(document); err != nil {
		return err // such as infinity
	}
	return conforms(schemaOf(t), asJSON(t, document), "")
}

// The file with all keys and defaults is as the schema says, and every key has a description.
func TestSchemaOfDefaults(t *testing.T) {
	var whole bytes.Buffer
	if err := Default().Print(&whole, Explained); err != nil {
		t.Fatal(err)
	}
	if err := againstSchema(t, whole.Bytes()); err != nil {
		t.Error(err)
	}
	if err := againstSchema(t, []byte("x-a: {anything: [1]}\nlb:\ncluster: {nodes: [{name: a, http: 1, weight: 2}]}\n")); err != nil {
		t.Error(err)
	}
	for _, l := range leavesOf(reflect.TypeFor[Config](), "") {
		at := schemaOf(t)
		for key := range strings.SplitSeq(l.path, ".") {
			at = at["properties"].(map[string]any)[key].(map[string]any)
		}
		if at["description"] == nil {
			t.Errorf("%s has no description", l.path)
		}
	}
}

// seenByLoadOnly are the bad files that a schema cannot tell: what depends on two keys, on the text itself, or is a matter
// of ranges.
var seenByLoadOnly = []string{
	"blank.yaml", "empty.yaml", "two_documents.yaml", // no document, or two
	"colliding_everywhere.yaml", "colliding_ports.yaml", "invalid_default.yaml", "invalid_element.yaml", "invalid_section.yaml", "invalid_value.yaml",
	"embedded_path.yaml", "embedded_service.yaml", "embedded_tls.yaml", "embedded_url.yaml",
}

// What Load refuses for the spelling or the kind of something, the schema refuses too.
func TestSchemaRefusesBadFiles(t *testing.T) {
	for name := range badFiles {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		err = againstSchema(t, text)
		if known := slices.Contains(seenByLoadOnly, name); known != (err == nil) {
			t.Errorf("%s: %v; only seen by Load: %v", name, err, known)
		}
	}
}

// The words of a key that the schema and suggestions know are those that the key takes.
func TestEnums(t *testing.T) {
	for path, words := range enums {
		set := func(word string) error {
			c := Default()
			c.origins = make(map[string]Origin)
			c.Cluster.Command.Argv = []string{"x"}
			c.Cluster.Command.ReadyPath = "/"
			var p problems
			c.readText("TEST", path, word, &p)
			if err := p.err(); err != nil {
				return err
			}
			c.fill()
			return c.Validate()
		}
		about := func(word string) string {
			err := set(word)
			if err == nil || !strings.Contains(err.Error(), path) {
				return ""
			}
			return err.Error()
		}
		for _, word := range words {
			if text := about(word); strings.Contains(text, "one of") {
				t.Errorf("%s: %q is refused: %s", path, word, text)
			}
		}
		if path == "cluster.command.ready" {
			continue // is looked at with cluster.runtime: command only
		}
		if text := about("nonsense"); text == "" {
			t.Errorf("%s takes any word", path)
		} else {
			for _, word := range words {
				if !strings.Contains(text, word) {
					t.Errorf("%s: %s is not one of %s", path, word, text)
				}
			}
		}
	}
}
