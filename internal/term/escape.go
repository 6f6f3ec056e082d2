package term

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape makes a text harmless for a terminal, whoever wrote it: what moves the cursor, changes the window, hides
// or reorders text, or is no UTF-8 is shown as its number ("\x1b", "\u202e"). Ends of lines and tabs stay, and
// with color the sequences that only choose a color or a weight (SGR).
func Escape(text string, color bool) string {
	if plain(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '\x1b' && color && sgr(text[i:]) > 0:
			size = sgr(text[i:])
			b.WriteString(text[i : i+size])
		case r == utf8.RuneError && size == 1, r < utf8.RuneSelf && !shown(r) && !strings.HasPrefix(text[i:], "\r\n"):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r > 0xffff && !shown(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		case r >= utf8.RuneSelf && !shown(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(text[i : i+size])
		}
		i += size
	}
	return b.String()
}

// plain reports whether there is nothing to escape, without a look at each rune of a text in ASCII.
func plain(text string) bool {
	for _, r := range text {
		if !shown(r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// shown reports whether a rune shows itself, where it stands.
func shown(r rune) bool { return r == '\n' || r == '\t' || unicode.IsGraphic(r) }

// longestSGR bounds a sequence, in bytes: far more than a color needs.
const longestSGR = 32

// sgr is the length of the sequence that text begins with if it only chooses colors of the letters or their
// weight, and else 0. What hides text (the color of the ground, concealed, blinking, inverse) is not among them.
func sgr(text string) int {
	const begin = "\x1b["
	if !strings.HasPrefix(text, begin) {
		return 0
	}
	end := strings.IndexByte(text[:min(len(text), longestSGR)], 'm')
	if end < 0 {
		return 0
	}
	parameters := strings.Split(text[len(begin):end], ";")
	for i := 0; i < len(parameters); i++ {
		switch p := parameters[i]; p {
		case "", "0", "1", "2", "3", "4", "22", "23", "24", "39", "00", "01":
		case "38": // of 256 colors, or of all
			more := map[bool]int{true: 2, false: 4}[i+1 < len(parameters) && parameters[i+1] == "5"]
			if i+more >= len(parameters) || more == 4 && parameters[i+1] != "2" || !numbers(parameters[i+1:i+more+1]) {
				return 0
			}
			i += more
		default:
			if len(p) != 2 || p[0] != '3' && p[0] != '9' || p[1] < '0' || p[1] > '7' {
				return 0
			}
		}
	}
	return end + 1
}

func numbers(words []string) bool {
	for _, w := range words {
		if w == "" || strings.Trim(w, "0123456789") != "" {
			return false
		}
	}
	return true
}
