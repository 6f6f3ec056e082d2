package mcp

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppendError(t *testing.T) {
	for _, c := range []struct {
		id, message string
		data        []Field
		want        string
	}{
		{"7", "rate limited", []Field{{"retryAfterMs", 250}},
			`{"jsonrpc":"2.0","id":7,"error":{"code":-32019,"message":"rate limited","data":{"retryAfterMs":250}}}`},
		{"", "x", nil, `{"jsonrpc":"2.0","id":null,"error":{"code":-32019,"message":"x"}}`},
		{`"a\"b"`, "line\n\"quoted\" \\ \x00\x7f é \xff", []Field{{"a", -1}, {"b\"", 2}},
			`{"jsonrpc":"2.0","id":"a\"b","error":{"code":-32019,"message":"line\u000a\"quoted\" \\ \u0000` + "\x7f" + ` é \ufffd","data":{"a":-1,"b\"":2}}}`},
	} {
		got := string(AppendError([]byte("> "), []byte(c.id), CodeRateLimited, c.message, c.data...))
		if got != "> "+c.want+"\n" {
			t.Errorf("got  %swant > %s", got, c.want)
		}
	}
}

func TestAppendErrorDoesNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 1024)
	id := []byte("12")
	if n := testing.AllocsPerRun(100, func() {
		dst = AppendError(dst[:0], id, CodeBanned, "banned", Field{"retryAfterMs", 1000})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestErrorIsAnError(t *testing.T) {
	var err error = &Error{Code: CodeMethodNotFound, Message: "no such method"}
	var e *Error
	if !errors.As(err, &e) || err.Error() != "no such method (JSON-RPC error -32601)" {
		t.Errorf("%v", err)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "é漢😀\u2028", "a\xffb\xc3", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw := AppendString(nil, s)
		var back string
		if err := json.Unmarshal(raw, &back); err != nil || !utf8.Valid(raw) {
			t.Fatalf("%q became %q: %v", s, raw, err)
		}
		if want := string([]rune(s)); back != want {
			t.Fatalf("%q came back as %q", s, back)
		}
		if strings.ContainsAny(string(raw), "\n\r") {
			t.Fatalf("%q contains a newline", raw)
		}
	})
}
