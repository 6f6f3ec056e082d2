package mcp

import "testing"

func TestHeaderValue(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "greet": "greet", "a b": "a b", "file:///a b": "file:///a b",
		" a": "=?base64?IGE=?=", "a ": "=?base64?YSA=?=", "a\tb": "=?base64?YQli?=", "ä": "=?base64?w6Q=?=", "é": "=?base64?w6k=?=", "\xff": "=?base64?/w==?=",
		"=?base64?x": "=?base64?PT9iYXNlNjQ/eA==?=",
	} {
		if got := HeaderValue(text); got != want {
			t.Errorf("%q is sent as %q, want %q", text, got, want)
		}
	}
}
