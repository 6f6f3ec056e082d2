package rawjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"
)

// decode builds what encoding/json would, out of what the walkers find.
func decode(t *testing.T, value []byte) any {
	switch Kind(value) {
	case '{':
		all := map[string]any{}
		members, ok := Object(value)
		if !ok {
			t.Fatalf("%s is not taken for an object", value)
		}
		for key, v, ok := members.Next(); ok; key, v, ok = members.Next() {
			name, ok := String(key)
			if !ok {
				t.Fatalf("%s is not taken for a string", key)
			}
			all[string(name)] = decode(t, v)
		}
		return all
	case '[':
		all := []any{}
		elements, ok := Array(value)
		if !ok {
			t.Fatalf("%s is not taken for an array", value)
		}
		for v, ok := elements.Next(); ok; v, ok = elements.Next() {
			all = append(all, decode(t, v))
		}
		return all
	default:
		var v any
		if err := json.Unmarshal(value, &v); err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		return v
	}
}

func FuzzWalkLikeEncodingJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `[[],{}]`, `{"a":1,"b":[true,false,null],"c":{"d":"e"}}`, ` { "a" : [ 1 , -2.5e3 ] , "b" : "" } `,
		`{"q\"\\":"\\\\\"","\u0061":"\ud83d\ude00"}`, `["]","}","\"]"]`, `"\\"`, `{"a":"`, `[1,`, `:`, `"`, `{"a"`, "\t[0]\r\n", `"\`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		walked := func() any { return decode(t, bytes.TrimSpace(text)) }
		if !json.Valid(text) || !utf8.Valid(text) {
			// No promise but to come back.
			if members, ok := Object(text); ok {
				for _, _, ok := members.Next(); ok; _, _, ok = members.Next() {
				}
			}
			if elements, ok := Array(text); ok {
				for _, ok := elements.Next(); ok; _, ok = elements.Next() {
				}
			}
			return
		}
		var want any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Skip(err) // a number out of range
		}
		if got := walked(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q\ngot  %#v\nwant %#v", text, got, want)
		}
	})
}

func TestString(t *testing.T) {
	for value, want := range map[string]string{`""`: "", `"a"`: "a", `"\u0061\n"`: "a\n", `"é"`: "é"} {
		if got, ok := String([]byte(value)); !ok || string(got) != want {
			t.Errorf("String(%s) = %q, %v", value, got, ok)
		}
	}
	for _, value := range []string{``, `1`, `null`, `{}`, `["a"]`} {
		if got, ok := String([]byte(value)); ok {
			t.Errorf("String(%s) = %q", value, got)
		}
	}
}

func TestWalkingDoesNotAllocate(t *testing.T) {
	text := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hi \" there"}}}`)
	allocs := testing.AllocsPerRun(100, func() {
		members, _ := Object(text)
		for key, _, ok := members.Next(); ok; key, _, ok = members.Next() {
			String(key)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestTake(t *testing.T) {
	var method, id []byte
	wanted := []Wanted{{"method", &method}, {"id", &id}}
	if !Take([]byte(`{"method":"a", "m\u0065thod":"b", "other":{"id":1}}`), wanted...) || string(method) != `"b"` || id != nil {
		t.Errorf("took method %s and id %s, want the last method and no id", method, id)
	}
	if Take([]byte(`["method"]`), wanted...) {
		t.Error("took members out of an array")
	}
}
