package policy

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
)

func FuzzHeaderText(f *testing.F) {
	f.Add([]byte("=?base64?c2VhcmNo?="))
	f.Add([]byte("=?base64??="))
	f.Add([]byte("=?base64?="))
	f.Fuzz(func(t *testing.T, value []byte) {
		var room [proxy.MaxToolName + 3]byte
		got := headerText(room[:], value)
		inner, ok := strings.CutPrefix(string(value), "=?base64?")
		inner, end := strings.CutSuffix(inner, "?=")
		if !ok || !end {
			if string(got) != string(value) {
				t.Fatalf("%q: %q", value, got)
			}
			return
		}
		want, err := base64.StdEncoding.DecodeString(inner)
		if err != nil || base64.StdEncoding.DecodedLen(len(inner)) > len(room) {
			want = nil
		}
		if string(got) != string(want) {
			t.Fatalf("%q: %q, want %q", value, got, want)
		}
	})
}
