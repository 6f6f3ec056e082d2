package want

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/units"
)

// dimension is what can be compared with what.
type dimension int

const (
	plain dimension = iota // a count, or no unit that is known
	span
	size
	percent
	pace // a second
)

// unit is what a figure is counted in.
type unit struct {
	dimension
	scale float64 // nanoseconds, for spans
	name  string  // in judge.Numbers
}

var suffixes = []struct {
	ending string
	unit   unit
}{
	{"_per_second", unit{pace, 1, "per_second"}},
	{"_us", unit{span, float64(time.Microsecond), "us"}},
	{"_ms", unit{span, float64(time.Millisecond), "ms"}},
	{"_s", unit{span, float64(time.Second), "s"}},
	{"_bytes", unit{size, 1, "bytes"}},
	{"_percent", unit{percent, 1, "percent"}},
}

// suffixed parts a JSON name from the unit that it ends with.
func suffixed(name string) (short string, u unit) {
	for _, s := range suffixes {
		if short, ok := strings.CutSuffix(name, s.ending); ok && short != "" {
			return short, s.unit
		}
	}
	return name, unit{}
}

// unitOf is the unit with a name; others are counts of something.
func unitOf(name string) unit {
	for _, s := range suffixes {
		if s.unit.name == name {
			return s.unit
		}
	}
	return unit{name: name}
}

// examples of values, for errors.
func (d dimension) examples() string {
	return [...]string{"a number (1000)", "a time (50ms, 1.5s)", "a size (64MiB, 1GB)", "percent (0.1%)", "a number a second (1000/s)"}[d]
}

// value is a number that was written, perhaps with a unit.
type value struct {
	number float64   // in nanoseconds, bytes, percent, a second; or in the figure's own unit
	dim    dimension // plain: in the figure's own unit
}

// parseValue reads a number with a unit of any dimension. The letter m is minutes.
func parseValue(text string, wanted dimension) (value, error) {
	text = strings.Join(strings.Fields(text), "")
	if n, ok := parseNumber(text); ok {
		return value{n, plain}, nil
	}
	if digits, ok := strings.CutSuffix(text, "%"); ok {
		if n, ok := parseNumber(digits); ok {
			return value{n, percent}, nil
		}
	}
	if digits, ok := strings.CutSuffix(text, "/s"); ok {
		if n, ok := parseNumber(digits); ok {
			return value{n, pace}, nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && wanted != size {
		return value{float64(d), span}, nil
	}
	if b, err := units.ParseBytes(text); err == nil {
		return value{float64(b), size}, nil
	}
	return value{}, fmt.Errorf("%q is not %s", text, wanted.examples())
}

func parseNumber(text string) (float64, bool) {
	if strings.Trim(text, "0123456789.+-eE") != "" { // no hexadecimal, no infinity, no digits parted
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && !math.IsInf(n, 0)
}

// in is the value in a figure's unit.
func (v value) in(u unit) (float64, error) {
	switch {
	case v.dim == plain:
		return v.number, nil
	case v.dim != u.dimension:
		return 0, fmt.Errorf("it is %s, not %s", u.examples(), v.dim.examples())
	case v.dim == span:
		return v.number / u.scale, nil
	}
	return v.number, nil
}

// text prints a figure for people.
func (u unit) text(n float64) string {
	digits := strconv.FormatFloat(n, 'f', -1, 64)
	if math.Abs(n) >= 1e15 {
		digits = strconv.FormatFloat(n, 'g', 6, 64)
	}
	switch u.dimension {
	case span:
		if ns := n * u.scale; math.Abs(ns) < math.MaxInt64/2 {
			return brief(time.Duration(math.Round(ns)))
		}
	case size:
		switch {
		case n >= float64(units.GiB):
			return fmt.Sprintf("%.3g GiB", n/float64(units.GiB))
		case n >= float64(units.MiB):
			return fmt.Sprintf("%.4g MiB", n/float64(units.MiB))
		}
		return digits + " B"
	case percent:
		return fmt.Sprintf("%.4g %%", n)
	case pace:
		return fmt.Sprintf("%.6g/s", n)
	case plain:
		if u.name != "" {
			return digits + " " + u.name
		}
	}
	return digits
}

// brief prints a duration with four significant digits.
func brief(d time.Duration) string {
	one := time.Duration(1)
	for d.Abs()/one >= 10000 {
		one *= 10
	}
	return d.Round(one).String()
}

// numberIn is a figure as a program reads it in judge.Numbers: times in milliseconds, as the checks of a report have them.
func (u unit) numberIn(n float64) (float64, string) {
	if u.dimension == span {
		return n * u.scale / float64(time.Millisecond), "ms"
	}
	return n, u.name
}
