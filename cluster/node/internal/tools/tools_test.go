package tools

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
)

func TestCalls(t *testing.T) {
	set := New("erlmcp1")
	tests := []struct {
		tool, arguments, want string
		delay                 time.Duration
	}{
		{"echo", `{"message":"a\"b\u00e9"}`, `"content":[{"type":"text","text":"a\"b\u00e9"}]`, 0},
		{"echo", `{"\u006dessage":"escaped key"}`, `"content":[{"type":"text","text":"escaped key"}]`, 0},
		{"echo", `{"message":1}`, `"content":[{"type":"text","text":"the argument \"message\" must be a string"}],"isError":true`, 0},
		{"echo", ``, `"content":[{"type":"text","text":"the argument \"message\" must be a string"}],"isError":true`, 0},
		{"add", `{"a":1,"b":2}`, `"content":[{"type":"text","text":"3"}],"structuredContent":{"sum":3}`, 0},
		{"add", `{"b":1e21,"a":0}`, `"content":[{"type":"text","text":"1e+21"}],"structuredContent":{"sum":1e+21}`, 0},
		{"add", `{"a":-0.25,"b":100000000000000000000}`, `"content":[{"type":"text","text":"100000000000000000000"}],"structuredContent":{"sum":100000000000000000000}`, 0},
		{"add", `{"a":1e308,"b":1e308}`, `"content":[{"type":"text","text":"the sum is too large"}],"isError":true`, 0},
		{"add", `{"a":1e999,"b":1}`, `"content":[{"type":"text","text":"the arguments \"a\" and \"b\" must be numbers"}],"isError":true`, 0},
		{"add", `{"a":"1","b":1}`, `"content":[{"type":"text","text":"the arguments \"a\" and \"b\" must be numbers"}],"isError":true`, 0},
		{"whoami", `{}`, `"content":[{"type":"text","text":"erlmcp1"}],"structuredContent":{"node":"erlmcp1"}`, 0},
		{"whoami", ``, `"content":[{"type":"text","text":"erlmcp1"}],"structuredContent":{"node":"erlmcp1"}`, 0},
		{"sleep", `{"milliseconds":20}`, `"content":[{"type":"text","text":"slept 20 ms"}]`, 20 * time.Millisecond},
		{"sleep", `{"milliseconds":2e1}`, `"content":[{"type":"text","text":"slept 20 ms"}]`, 20 * time.Millisecond},
		{"sleep", `{"milliseconds":0.5}`, `"content":[{"type":"text","text":"the argument \"milliseconds\" must be an integer within 0..60000"}],"isError":true`, 0},
		{"sleep", `{"milliseconds":-1}`, `"content":[{"type":"text","text":"the argument \"milliseconds\" must be an integer within 0..60000"}],"isError":true`, 0},
		{"sleep", `{"milliseconds":60001}`, `"content":[{"type":"text","text":"the argument \"milliseconds\" must be an integer within 0..60000"}],"isError":true`, 0},
	}
	for _, test := range tests {
		got, delay, err := set.AppendCall(nil, test.tool, []byte(test.arguments))
		if err != nil || string(got) != test.want || delay != test.delay {
			t.Errorf("%s %s\ngot  %s, %v, %v\nwant %s, %v", test.tool, test.arguments, got, delay, err, test.want, test.delay)
		}
		if !json.Valid([]byte("{" + string(got) + "}")) {
			t.Errorf("%s %s: the result is not JSON", test.tool, test.arguments)
		}
	}
	if _, _, err := set.AppendCall(nil, "Echo", nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("a tool that is not there: %v", err)
	}
}

func TestListIsJSON(t *testing.T) {
	for _, tool := range New("n").List() {
		var schema struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(tool.InputSchema, &schema); err != nil || schema.Type != "object" {
			t.Errorf("%s: input schema %s: %v", tool.Name, tool.InputSchema, err)
		}
		if tool.OutputSchema != nil && !json.Valid(tool.OutputSchema) {
			t.Errorf("%s: output schema %s", tool.Name, tool.OutputSchema)
		}
	}
}

func TestCallsDoNotAllocate(t *testing.T) {
	set := New("erlmcp1")
	dst := make([]byte, 0, 1024)
	for tool, arguments := range map[string][]byte{
		"echo": []byte(`{"message":"hello"}`), "add": []byte(`{"a":1,"b":2}`), "whoami": []byte(`{}`), "sleep": []byte(`{"milliseconds":1}`),
	} {
		allocs := testing.AllocsPerRun(100, func() {
			if _, _, err := set.AppendCall(dst, tool, arguments); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", tool, allocs)
		}
	}
}
