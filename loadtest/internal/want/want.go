// Package want decides by the figures of a report: what they have to be, such as "latency.p99<=50ms".
//
//	PATH OPERATOR VALUE
//
// PATH is the JSON names of a report with dots between them. The unit at the end of a name may be left out: failover.rerouted is
// failover.rerouted_ms, nodes.NAME.latency.p99 is nodes.NAME.latency_us.p99. Elements of lists are addressed by their name,
// values of maps by their key, and * is each of them. A name with a comma or an operator in it is quoted, as Go does. There are
// two figures besides those of the report, for the whole and for each part of it that has requests:
//
//	errors  requests that failed or were lost, in percent of those sent
//	rate    answers a second during the hold
//
// OPERATOR is one of < <= > >= = != (or ≤ ≥ ≠ ==). VALUE is a number with a unit: ns, us, µs, ms, s, m, h; B, kB, KiB, MB, MiB
// and so on; %; /s. Without one it is in the unit of the figure.
package want

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrSyntax is what errors of Parse wrap when a text is not PATH OPERATOR VALUE.
var ErrSyntax = errors.New("not a figure, an operator and a value, as in latency.p99<=50ms")

// NameError says that a report has no such figure.
type NameError struct {
	Path string

	schema *Schema
	words  []word
}

// Nearest are all figures that there are, the likeliest to be meant first.
func (e *NameError) Nearest() []string { return e.schema.nearestPaths(e.words) }

// listed is how many figures the error names.
const listed = 8

func (e *NameError) Error() string {
	near := e.Nearest()
	text := fmt.Sprintf("a report has no figure %q; the nearest of its %d: ", e.Path, len(near))
	return text + strings.Join(near[:min(len(near), listed)], ", ")
}

// Operator compares a figure with a value.
type Operator string

// The operators.
const (
	Less    Operator = "<"
	AtMost  Operator = "<="
	More    Operator = ">"
	AtLeast Operator = ">="
	Equal   Operator = "="
	Differs Operator = "!="
)

// spellings of operators, longer ones first.
var spellings = []struct {
	text string
	op   Operator
}{
	{"<=", AtMost}, {">=", AtLeast}, {"!=", Differs}, {"==", Equal}, {"≤", AtMost}, {"≥", AtLeast}, {"≠", Differs},
	{"<", Less}, {">", More}, {"=", Equal},
}

func (o Operator) holds(got, limit float64) bool {
	switch o {
	case Less:
		return got < limit
	case AtMost:
		return got <= limit
	case More:
		return got > limit
	case AtLeast:
		return got >= limit
	case Equal:
		return got == limit
	default:
		return got != limit
	}
}

// Want is what a figure has to be.
type Want struct {
	Text string // as it was written
	Op   Operator

	steps []step
	value value
}

// Wants are several.
type Wants []Want

// Parse reads one want. Errors wrap ErrSyntax or are a *NameError, or say what is wrong with the value.
func (s *Schema) Parse(text string) (Want, error) {
	e, err := s.parse(text)
	if err != nil {
		return Want{}, err
	}
	v, err := e.read(e.value)
	return Want{Text: e.text, Op: e.op, steps: e.steps, value: v}, err
}

// ParseAll reads wants with commas between them.
func (s *Schema) ParseAll(text string) (wants Wants, err error) {
	for _, one := range split(text) {
		w, err := s.Parse(one)
		if err != nil {
			return nil, err
		}
		wants = append(wants, w)
	}
	return wants, nil
}

// Path is the figure's, with JSON names in full.
func (w Want) Path() string { return pathOf(w.steps) }

// Limit is the value in the unit of the figure, such as 50000 for 50ms where the report has microseconds.
func (w Want) Limit() float64 {
	n, _ := w.value.in(last(w.steps).unit) // it was tried by Parse
	return n
}

// expression is one that was read up to its value.
type expression struct {
	text  string
	steps []step
	op    Operator
	value string
}

// maxText is longer than any text that makes sense.
const maxText = 1000

func (s *Schema) parse(text string) (*expression, error) {
	e := &expression{text: strings.TrimSpace(text)}
	if len(e.text) > maxText {
		return nil, fmt.Errorf("%.40q… has %d bytes, more than %d, and is %w", e.text, len(e.text), maxText, ErrSyntax)
	}
	path, op, v, ok := cut(e.text)
	if !ok {
		return nil, fmt.Errorf("%q is %w", e.text, ErrSyntax)
	}
	e.op, e.value = op, strings.TrimSpace(v)
	words, err := wordsOf(strings.TrimSpace(path))
	if err != nil || e.value == "" {
		return nil, fmt.Errorf("%q is %w", e.text, ErrSyntax)
	}
	if e.steps = resolve(s.root, words); e.steps == nil {
		return nil, &NameError{strings.TrimSpace(path), s, words}
	}
	return e, nil
}

// read reads the value, which has to fit the figure.
func (e *expression) read(text string) (value, error) {
	n := last(e.steps)
	v, err := parseValue(text, n.unit.dimension)
	if err == nil && !n.beside {
		_, err = v.in(n.unit)
	}
	if err != nil {
		return value{}, fmt.Errorf("%q: the value of %s: %w", e.text, pathOf(e.steps), err)
	}
	return v, nil
}

// cut parts a text at its first operator that is not in a quoted name.
func cut(text string) (path string, op Operator, value string, ok bool) {
	for i := 0; i < len(text); i++ {
		if quoted, err := strconv.QuotedPrefix(text[i:]); err == nil && text[i] == '"' {
			i += len(quoted) - 1
			continue
		}
		for _, s := range spellings {
			if rest, ok := strings.CutPrefix(text[i:], s.text); ok {
				return text[:i], s.op, rest, true
			}
		}
	}
	return "", "", "", false
}

// split parts a text at the commas that are not in a quoted name.
func split(text string) (parts []string) {
	begin := 0
	for i := 0; i < len(text); i++ {
		if quoted, err := strconv.QuotedPrefix(text[i:]); err == nil && text[i] == '"' {
			i += len(quoted) - 1
		} else if text[i] == ',' {
			parts, begin = append(parts, text[begin:i]), i+1
		}
	}
	return append(parts, text[begin:])
}

// word is a part of a path.
type word struct {
	text   string
	quoted bool
}

// maxWords is more than any path has, and keeps the search for names with dots short.
const maxWords = 24

// wordsOf parts a path at its dots.
func wordsOf(path string) (words []word, err error) {
	for rest, more := path, true; more; {
		var w word
		if quoted, err := strconv.QuotedPrefix(rest); err == nil && rest[0] == '"' {
			w.quoted = true
			w.text, _ = strconv.Unquote(quoted)
			rest = rest[len(quoted):]
			if rest != "" && rest[0] != '.' {
				return nil, ErrSyntax
			}
			rest, more = strings.CutPrefix(rest, ".")
		} else {
			w.text, rest, more = strings.Cut(rest, ".")
			if w.text == "" {
				return nil, ErrSyntax
			}
		}
		if words = append(words, w); len(words) > maxWords {
			return nil, ErrSyntax
		}
	}
	return words, nil
}

func last(steps []step) *node { return steps[len(steps)-1].node }

// pathOf is a path as Parse reads it.
func pathOf(steps []step) string {
	words := make([]string, len(steps))
	for i, s := range steps {
		switch {
		case s.any:
			words[i] = "*"
		case s.node.name != "":
			words[i] = s.node.name
		default:
			words[i] = quoteKey(s.key)
		}
	}
	return strings.Join(words, ".")
}

// quoteKey quotes a name that could be read as something else.
func quoteKey(key string) string {
	if key == "" || key == "*" || strings.ContainsAny(key, "<>=!≤≥≠,.\"\\ ") || strconv.Quote(key) != `"`+key+`"` {
		return strconv.Quote(key)
	}
	return key
}
