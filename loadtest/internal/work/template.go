package work

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/internal/nearest"
)

// A template is a text with placeholders, {{$NAME ARGUMENTS}}; {{$$ is a text that reads {{$. The dollar sign sets them apart
// from templates of others, and one that is not known is an error, so nothing is replaced by accident.

// kind is what a part of a template stands for.
type kind uint8

const (
	literal    kind = iota
	counter         // the number of the request
	integer         // a random number
	uuid            // a random UUID, version 4
	hex             // random hexadecimal digits
	line            // the next line of a file
	randomLine      // any line of a file
	client          // the number of the client
	millis          // milliseconds since 1970
	rfc3339         // the time of day as a text

	nameBegins // what comes up to nameEnds is Request.Name; not in texts
	nameEnds
)

// part is a piece of a template.
type part struct {
	kind     kind
	text     string // literal: itself; line, randomLine: the file's name
	from, to int64  // integer: the range; counter: the first one; hex: how many digits
	asText   bool   // a number, but it is to be a text
}

// numeric reports whether a string that is nothing but this part is a number.
func (p part) numeric() bool {
	switch p.kind {
	case counter, integer, client, millis:
		return !p.asText
	}
	return false
}

// placeholders are the names, with what is written behind them.
var placeholders = []struct{ name, usage string }{
	{"counter", "{{$counter}} or {{$counter FIRST}}, a number up to 2^53"},
	{"int", "{{$int FROM TO}}, numbers up to 2^53"},
	{"uuid", "{{$uuid}}"},
	{"hex", "{{$hex DIGITS}}"},
	{"line", "{{$line FILE}}"},
	{"randomline", "{{$randomline FILE}}"},
	{"client", "{{$client}}"},
	{"now", "{{$now}} or {{$now rfc3339}}"},
}

// maxExact bounds numbers to those that every reader of JSON takes exactly.
const maxExact = 1 << 53

// maxDigits bounds {{$hex}}.
const maxDigits = 1024

var (
	opening  = regexp.MustCompile(`\{\{ *\$`)
	spelling = regexp.MustCompile(`^[A-Za-z0-9_]*`)
)

// parseTemplate takes a text apart.
func parseTemplate(text string) (parts []part, err error) {
	var plain strings.Builder
	for {
		at := opening.FindStringIndex(text)
		if at == nil {
			break
		}
		plain.WriteString(text[:at[0]])
		mark, rest := text[at[0]:at[1]], text[at[1]:]
		if strings.HasPrefix(rest, "$") {
			plain.WriteString(mark)
			text = rest[1:]
			continue
		}
		inside, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return nil, fmt.Errorf("%s does not close: write }} behind it (a text that reads {{$ is written {{$$)", quoteShort(mark+rest))
		}
		p, err := parsePlaceholder(inside)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", quoteShort(mark+inside+"}}"), err)
		}
		if plain.Len() > 0 {
			parts = append(parts, part{text: plain.String()})
			plain.Reset()
		}
		parts = append(parts, p)
		text = after
	}
	if plain.WriteString(text); plain.Len() > 0 {
		parts = append(parts, part{text: plain.String()})
	}
	return parts, nil
}

// parsePlaceholder reads what stands between {{$ and }}.
func parsePlaceholder(inside string) (p part, err error) {
	name := spelling.FindString(inside)
	rest := strings.TrimSpace(inside[len(name):])
	words := strings.Fields(rest)
	if n := len(words); n > 0 && words[n-1] == "text" && (name == "counter" || name == "int" || name == "client" || name == "now") {
		p.asText, words = true, words[:n-1]
	}
	ok := false
	switch name {
	case "counter":
		p.kind, p.from, ok = counter, 1, len(words) == 0
		if len(words) == 1 {
			p.from, ok = exact(words[0])
		}
	case "int":
		p.kind = integer
		if len(words) == 2 {
			from, one := exact(words[0])
			to, two := exact(words[1])
			if one && two && from > to {
				return p, fmt.Errorf("%d is above %d", from, to)
			}
			p.from, p.to, ok = from, to, one && two
		}
	case "uuid":
		p.kind, ok = uuid, len(words) == 0
	case "hex":
		p.kind = hex
		if len(words) == 1 {
			p.to, ok = exact(words[0])
			if ok && (p.to < 1 || p.to > maxDigits) {
				return p, fmt.Errorf("%d digits are not between 1 and %d", p.to, maxDigits)
			}
		}
	case "line":
		p.kind, p.text, ok = line, rest, rest != ""
	case "randomline":
		p.kind, p.text, ok = randomLine, rest, rest != ""
	case "client":
		p.kind, ok = client, len(words) == 0
	case "now":
		if p.kind, ok = millis, len(words) == 0; len(words) == 1 && words[0] == "rfc3339" {
			p.kind, ok = rfc3339, true
		}
	default:
		names := make([]string, len(placeholders))
		for i, known := range placeholders {
			names[i] = known.name
		}
		return p, fmt.Errorf("%s (a text that reads {{$ is written {{$$)", nearest.OneOf(name, names))
	}
	if !ok {
		for _, known := range placeholders {
			if known.name == name {
				return p, fmt.Errorf("write %s", known.usage)
			}
		}
	}
	return p, nil
}

// exact reads a whole number.
func exact(word string) (n int64, ok bool) {
	n, err := strconv.ParseInt(word, 10, 64)
	return n, err == nil && n <= maxExact && n >= -maxExact
}

// escapeTemplate makes a text the template of itself.
func escapeTemplate(text string) string { return opening.ReplaceAllString(text, "$0$$") }

// filesOf lists the files that templates take lines of.
func filesOf(parts []part) (names []string) {
	for _, p := range parts {
		if p.kind == line || p.kind == randomLine {
			names = append(names, p.text)
		}
	}
	return names
}

// longest is how many bytes of JSON a part can become.
func (p part) longest(files map[string]*lines) int {
	switch p.kind {
	case literal, nameBegins, nameEnds:
		return len(p.text)
	case hex:
		return int(p.to)
	case line, randomLine:
		return files[p.text].longest
	}
	return max(len("00000000-0000-4000-8000-000000000000"), len(strconv.Itoa(math.MinInt64)))
}

// quoteShort quotes the beginning of a text.
func quoteShort(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return strconv.Quote(string(runes[:most]) + "…")
	}
	return strconv.Quote(text)
}
