package term

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"plain, ä, 中, 🙂\tand\nlines\r\n":     "plain, ä, 中, 🙂\tand\nlines\r\n",
		"\x1b]0;owned\a":                     `\x1b]0;owned\x07`,
		"\x1b[2Jfake":                        `\x1b[2Jfake`,
		"\x1b[31mred\x1b[0m":                 "\x1b[31mred\x1b[0m",
		"\x1b[1;38;5;208mx\x1b[38;2;1;2;3my": "\x1b[1;38;5;208mx\x1b[38;2;1;2;3my",
		"\x1b[38;5;8;8mhidden":               `\x1b[38;5;8;8mhidden`,
		"\x1b[38;2;1;2mx":                    `\x1b[38;2;1;2mx`,
		"\x1b[8mhidden":                      `\x1b[8mhidden`,
		"\x1b[7m\x1b[41m\x1b[5m":             `\x1b[7m\x1b[41m\x1b[5m`,
		"\x1b[":                              `\x1b[`,
		"\x1b":                               `\x1b`,
		"first\rsecond":                      `first\x0dsecond`,
		"\x00\b\x7f":                         `\x00\x08\x7f`,
		"\u009b31m\u0085":                    `\u009b31m\u0085`,
		"\x9b31m":                            `\x9b31m`,
		"abc\u202edcba\u2066\u200b\ufeff":    `abc\u202edcba\u2066\u200b\ufeff`,
		"\u2028\u2029\U000e0041":             `\u2028\u2029\U000e0041`,
		"\xff\xf0\x9f":                       `\xff\xf0\x9f`,
		"\ufffd":                             "\ufffd",
	} {
		if got := Escape(text, true); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := Escape("\x1b[31mred", false); got != `\x1b[31mred` {
		t.Errorf("without color: %q", got)
	}
}

func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"", "\x1b[31mred\x1b[0m", "\x1b]0;x\a", "\u009b2J", "\x9b", "a\r\nb\rc", "\x1b[38;5;1m", "\x1b[38"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, color := range []bool{true, false} {
			got := Escape(text, color)
			if !utf8.ValidString(got) {
				t.Errorf("%q is no UTF-8", got)
			}
			if again := Escape(got, color); again != got {
				t.Errorf("%q becomes %q", got, again)
			}
			rest := strings.ReplaceAll(got, "\r\n", "\n")
			for {
				i := strings.IndexByte(rest, '\x1b')
				if i < 0 {
					break
				}
				n := sgr(rest[i:])
				if !color || n == 0 {
					t.Fatalf("%q still has a sequence", got)
				}
				rest = rest[:i] + rest[i+n:]
			}
			if i := strings.IndexFunc(rest, func(r rune) bool { return !shown(r) || unicode.IsControl(r) && r != '\n' && r != '\t' }); i >= 0 {
				t.Errorf("%q still has a control", got)
			}
		}
	})
}

// A terminal gets nothing raw, by whichever way it is written to; what is no terminal gets every byte.
func TestOutputEscapesForTerminals(t *testing.T) {
	const text = "\x1b]0;owned\a \x1b[31mred\x1b[0m\n"
	var pipe bytes.Buffer
	if _, err := New(&pipe).Write([]byte(text)); err != nil || pipe.String() != text {
		t.Errorf("a pipe got %q, %v", pipe.String(), err)
	}
	for color, want := range map[bool]string{
		true:  "\\x1b]0;owned\\x07 \x1b[31mred\x1b[0m\n",
		false: `\x1b]0;owned\x07 \x1b[31mred\x1b[0m` + "\n",
	} {
		var screen bytes.Buffer
		o := &Output{w: &screen, terminal: true, live: true, color: color}
		n, err := o.Write([]byte(text))
		if err != nil || n != len(text) || screen.String() != want {
			t.Errorf("a terminal got %q, %d, %v", screen.String(), n, err)
		}
		screen.Reset()
		if err := o.Draw(text); err != nil || strings.Contains(screen.String(), "\x1b]") || !strings.Contains(screen.String(), `\x1b]0;owned\x07`) {
			t.Errorf("drawn: %q, %v", screen.String(), err)
		}
	}
}
