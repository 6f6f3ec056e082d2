// Package units holds quantities that are written with a unit in configuration, flags and JSON.
package units

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of bytes, written as "64MiB", "16k" or "1GB".
//
// A binary suffix (KiB, MiB, GiB, TiB) and a bare letter (k, m, g, t) are powers of 1024, as in the
// configuration of HAProxy and nginx; a decimal suffix (kB, MB, GB, TB) is a power of 1000. Letter
// case does not matter, and neither does a space before the suffix.
//
// It is a flag value (pflag.Value) and reads and writes text, JSON and YAML.
type Bytes int64

// Sizes of the binary units.
const (
	KiB Bytes = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

// InMiB is a number of bytes in whole MiB, for people.
func InMiB(bytes int64) string { return fmt.Sprintf("%d MiB", bytes/int64(MiB)) }

// suffixes in falling order of size; the first spelling is the one printed.
var suffixes = []struct {
	size  Bytes
	names []string
}{
	{TiB, []string{"TiB", "t"}},
	{1e12, []string{"TB"}},
	{GiB, []string{"GiB", "g"}},
	{1e9, []string{"GB"}},
	{MiB, []string{"MiB", "m"}},
	{1e6, []string{"MB"}},
	{KiB, []string{"KiB", "k"}},
	{1e3, []string{"kB"}},
	{1, []string{"", "B"}},
}

// ParseBytes reads a non-negative whole number with an optional suffix.
func ParseBytes(text string) (Bytes, error) {
	trimmed := strings.TrimSpace(text)
	digits := strings.IndexFunc(trimmed, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(trimmed)
	}
	number, suffix := trimmed[:digits], strings.TrimSpace(trimmed[digits:])
	if number == "" {
		return 0, fmt.Errorf("%q is not a size (like 64MiB, 16k or 1GB)", text)
	}
	size, ok := sizeOf(suffix)
	if !ok {
		return 0, fmt.Errorf("%q is not a size: unknown unit %q (k, KiB, kB, m, MiB, MB, g, GiB, GB, t, TiB, TB)", text, suffix)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64/int64(size) {
		return 0, fmt.Errorf("%q is more than this program can count", text)
	}
	return Bytes(n) * size, nil
}

func sizeOf(suffix string) (Bytes, bool) {
	for _, s := range suffixes {
		for _, name := range s.names {
			if strings.EqualFold(name, suffix) {
				return s.size, true
			}
		}
	}
	return 0, false
}

// String returns the shortest text that ParseBytes reads back as the same number; of two equally
// short ones, the one with a unit.
func (b Bytes) String() string {
	best := strconv.FormatInt(int64(b), 10)
	if b == 0 {
		return best
	}
	limit := len(best)
	for _, s := range suffixes {
		if s.size == 1 || b%s.size != 0 {
			continue
		}
		if text := strconv.FormatInt(int64(b/s.size), 10) + s.names[0]; len(text) <= limit {
			best, limit = text, len(text)-1
		}
	}
	return best
}

// Set makes Bytes a flag value.
func (b *Bytes) Set(text string) (err error) {
	*b, err = ParseBytes(text)
	return err
}

// Type names the value in a command's help.
func (b *Bytes) Type() string { return "size" }

// MarshalText writes the form String returns.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads what ParseBytes reads.
func (b *Bytes) UnmarshalText(text []byte) error { return b.Set(string(text)) }

// UnmarshalJSON reads a string as ParseBytes does, or a bare number of bytes.
func (b *Bytes) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		text = string(data)
	}
	return b.Set(text)
}
