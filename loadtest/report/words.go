package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/loadtest/machine"
)

// Print is a value of a unit for people, to about three digits.
func Print(value float64, unit string) string {
	switch unit {
	case Micros:
		return duration(value)
	case Millis:
		return duration(value * 1e3)
	case Seconds:
		return duration(value * 1e6)
	case Bytes:
		return size(value)
	case Percent:
		return digits(value) + " %"
	case PerSecond:
		return digits(value) + "/s"
	}
	return digits(value)
}

// duration prints microseconds.
func duration(us float64) string {
	switch v := math.Abs(us); {
	case v == 0:
		return "0"
	case v < 999.5:
		return digits(us) + " µs"
	case v < 999_500:
		return digits(us/1e3) + " ms"
	case v < 600e6:
		return digits(us/1e6) + " s"
	default:
		return digits(us/60e6) + " min"
	}
}

func size(bytes float64) string {
	unit := "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if math.Abs(bytes) < 1024 {
			break
		}
		bytes, unit = bytes/1024, next
	}
	return digits(bytes) + " " + unit
}

// digits prints three digits, and all of those before the point, in groups.
func digits(v float64) string {
	after := 0
	switch a := math.Abs(v); {
	case a == math.Trunc(a) || a >= 99.95:
	case a >= 9.995:
		after = 1
	case a >= 0.995:
		after = 2
	default:
		after = 3
	}
	text := strconv.FormatFloat(v, 'f', after, 64)
	if text == "-0" {
		return "0"
	}
	whole, rest, _ := strings.Cut(text, ".")
	sign := ""
	if w, ok := strings.CutPrefix(whole, "-"); ok {
		sign, whole = "-", w
	}
	var grouped strings.Builder
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			grouped.WriteByte(',')
		}
		grouped.WriteRune(c)
	}
	if rest != "" {
		rest = "." + rest
	}
	return sign + grouped.String() + rest
}

func count(n int) string { return digits(float64(n)) }

// nodeName is the name of a node, or what stands for all of them.
func nodeName(name string) string {
	if name == "" {
		return "all nodes"
	}
	return name
}

// quote is a command as a shell takes it.
func quote(words []string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@%+[]"
	quoted := make([]string, len(words))
	for i, w := range words {
		if w == "" || strings.Trim(w, plain) != "" || strings.ContainsAny(w, "[]") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		quoted[i] = w
	}
	return strings.Join(quoted, " ")
}

// hostLine is the computer of a run in a line.
func hostLine(h machine.Host) string {
	var parts []string
	if h.CPU != "" || h.CPUs > 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d × %s", h.CPUs, h.CPU)))
	}
	if h.MemoryBytes > 0 {
		parts = append(parts, size(float64(h.MemoryBytes)))
	}
	if h.OS != "" {
		parts = append(parts, strings.TrimSpace(h.OS+" "+h.Kernel), h.Arch)
	}
	return strings.Join(parts, ", ")
}
