package mcp

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestTopMethod(t *testing.T) {
	for body, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`:           "tools/call",
		" \r\n{ \"method\" : \"ping\" }":                                       "ping",
		`{"method":"tools/call","params":{"arg":"unfin`:                        "tools/call",
		`{"params":{"method":"no","a":["\"}",{}]},"\u006dethod":"tools/list"}`: "tools/list",
		`{"id":"},{\"method\":\"x\"","method":"ping"}`:                         "ping",
		`{"id":1,"result":{"method":"x"}}`:                                     "",
		`[{"method":"ping"}]`:                                                  "",
		`{"method":"too`:                                                       "",
		`{"method":7}`:                                                         "",
		`{"method"`:                                                            "",
		`{`:                                                                    "",
		``:                                                                     "",
		`{"params":"` + strings.Repeat("x", maxSought) + `","method":"tools/call"}`: "",
	} {
		if got := TopMethod([]byte(body)); string(got) != want {
			t.Errorf("%.60q: %q, want %q", body, got, want)
		}
	}
}

func FuzzTopMethod(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`))
	f.Add([]byte(`{"a":[{"method":"x"}],"method":"y"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got := TopMethod(body)
		if len(body) > maxSought || !json.Valid(body) {
			return
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(body, &members) != nil {
			if got != nil {
				t.Fatalf("%q: %q", body, got)
			}
			return
		}
		if bytes.Count(body, []byte("ethod")) != 1 || bytes.IndexByte(body, '\\') >= 0 {
			return // twice, or spelled in another way
		}
		raw, ok := members["method"]
		if text := len(raw) > 0 && raw[0] == '"'; ok && text && string(raw[1:len(raw)-1]) != string(got) || (!ok || !text) && got != nil {
			t.Fatalf("%q: %q, want %q", body, got, raw)
		}
	})
}

func TestMethodNumber(t *testing.T) {
	for i, m := range ClientMethods {
		if MethodNumber([]byte(m)) != i {
			t.Errorf("%s is twice in the list", m)
		}
	}
	if MethodNumber([]byte("Tools/call")) != len(ClientMethods) || MethodNumber(nil) != len(ClientMethods) {
		t.Error("others have a number")
	}
	method := []byte("tools/call")
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`)
	if n := testing.AllocsPerRun(100, func() { MethodNumber(method); TopMethod(body) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
