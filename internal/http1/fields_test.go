package http1

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzFold(f *testing.F) {
	f.Add([]byte("Text/Event-Stream; Charset=utf-8"), "charset")
	f.Add([]byte("[@`{K\u212a"), "k")
	f.Fuzz(func(t *testing.T, p []byte, word string) {
		word = strings.Map(func(r rune) rune { return rune(lower[byte(r)&0x7f]) }, word)
		ascii := bytes.Map(func(r rune) rune { return r & 0x7f }, p)
		if got, want := EqualFold(ascii, word), bytes.EqualFold(ascii, []byte(word)); got != want {
			t.Fatalf("%q is %q: %v", ascii, word, got)
		}
		if word == "" {
			return
		}
		if got, want := IndexFold(ascii, word), bytes.Index(bytes.ToLower(ascii), []byte(word)); got != want {
			t.Fatalf("%q is in %q at %d, want %d", word, ascii, got, want)
		}
		if i := IndexFold(p, word); i >= 0 && !EqualFold(p[i:i+len(word)], word) {
			t.Fatalf("%q is not in %q at %d", word, p, i)
		}
	})
}

func TestHasToken(t *testing.T) {
	for list, want := range map[string]bool{
		"no-transform": true, "max-age=0, No-Transform": true, " ,\tno-transform ,x": true, "no-transform,": true,
		"": false, ",": false, "no-transforms": false, "x no-transform": false, "no-transform=1": false,
	} {
		if got := HasToken([]byte(list), "no-transform"); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
}
