// Package logtime reads the times that programs write into their logs, and those that people ask for.
//
//	Of     is the time that a line of a log says it was written at
//	Since  is the time that somebody means who looks for what was written since
package logtime

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// head is how far into a line a time is looked for, in bytes.
const head = 256

// Of is the time that a line says it was written at: in the form of a [stamp] at its beginning, before or behind its
// level, in brackets or not, as syslog, klog, Erlang's logger and access logs write it, or as the value of a
// key that loggers use, in JSON or in logfmt. now is about when it is read: it completes a time without a year or
// a day, and its zone is that of times without one.
func Of(line []byte, now time.Time) (time.Time, bool) {
	line = uncoloured(line)
	if len(line) > 0 && line[0] == '{' {
		return ofJSON(line, now)
	}
	line = line[:min(len(line), head)]
	for _, read := range []func([]byte, time.Time) (time.Time, bool){ofStamp, ofKlog, ofReport, ofAccess, ofLogfmt} {
		if at, ok := read(line, now); ok {
			return at, true
		}
	}
	return time.Time{}, false
}

// uncoloured is the line without blanks and sequences that set colours at its beginning.
func uncoloured(line []byte) []byte {
	for {
		line = bytes.TrimLeft(line, " \t")
		sequence, ok := bytes.CutPrefix(line, []byte("\x1b["))
		if !ok {
			return line
		}
		end := bytes.IndexByte(sequence, 'm')
		if end < 0 || len(bytes.Trim(sequence[:end], "0123456789;")) > 0 {
			return line
		}
		line = sequence[end+1:]
	}
}

// levels are what loggers may write before the time.
var levels = []string{
	"TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "ERR", "CRITICAL", "CRIT", "FATAL", "ALERT", "EMERG", "EMERGENCY", "SEVERE",
}

// ofStamp: TIME …, [TIME] …, LEVEL TIME …, [LEVEL] TIME …, LEVEL: TIME …, <PRIORITY>TIME …, <PRIORITY>1 TIME ….
func ofStamp(line []byte, now time.Time) (time.Time, bool) {
	s := scan{line}
	if s.skip("<") {
		if _, ok := s.digits(1, 3); !ok || !s.skip(">") {
			return time.Time{}, false
		}
		version := s
		if version.skip("1") && version.skip(" ") {
			s = version
		}
	}
	for range 2 {
		s.rest = uncoloured(s.rest)
		s.skip("[(\"")
		if at, ok := stamp(&s, now); ok {
			return at, true
		}
		if !slices.Contains(levels, strings.ToUpper(s.word())) {
			break
		}
		for s.skip(" \t]:|)-") {
		}
	}
	return time.Time{}, false
}

// ofKlog: I0131 12:00:00.5 …, or with the year I20260131.
func ofKlog(line []byte, now time.Time) (time.Time, bool) {
	s := scan{line}
	if !s.skip("IWEF") {
		return time.Time{}, false
	}
	year := 0
	long := s
	if n, ok := long.digits(8, 8); ok {
		year = n / 1e4
		s.rest = s.rest[4:]
	}
	n, ok := s.digits(4, 4)
	if !ok || s.blanks() != 1 {
		return time.Time{}, false
	}
	hour, minute, second, ns, ok := s.clock(false)
	if !ok {
		return time.Time{}, false
	}
	month, day := time.Month(n/100), n%100
	if year != 0 {
		return date(year, month, day, hour, minute, second, ns, now.Location())
	}
	return lastOf(now, now.Location(), month, day, hour, minute, second, ns)
}

// ofReport: =INFO REPORT==== 31-Jan-2026::12:00:00.5 ===.
func ofReport(line []byte, now time.Time) (time.Time, bool) {
	_, rest, ok := bytes.Cut(line, []byte("==== "))
	if !ok || line[0] != '=' {
		return time.Time{}, false
	}
	return stamp(&scan{rest}, now)
}

// ofAccess: 192.0.2.1 - user [31/Jan/2026:12:00:00 +0100] "GET ….
func ofAccess(line []byte, now time.Time) (time.Time, bool) {
	before, rest, ok := bytes.Cut(line, []byte("["))
	if !ok || len(bytes.Fields(before)) != 3 {
		return time.Time{}, false
	}
	return dayFirst(&scan{rest}, now)
}

// keys are what loggers call the time, the likeliest first.
var keys = []string{
	"time", "ts", "timestamp", "@timestamp", "@t", "t", "datetime", "asctime", "instant", "timemillis", "timestampms", "eventtime",
	"__realtime_timestamp", "date",
}

// ofLogfmt: level=info ts=2026-01-31T12:00:00Z msg="…".
func ofLogfmt(line []byte, now time.Time) (time.Time, bool) {
	for rest := line; len(rest) > 0; {
		key, value, ok := bytes.Cut(rest, []byte("="))
		if !ok || len(key) == 0 || bytes.ContainsAny(key, " \t\"") {
			return time.Time{}, false
		}
		end := bytes.IndexAny(value, " \t")
		if quoted := len(value) > 0 && value[0] == '"'; quoted {
			if end = bytes.IndexByte(value[1:], '"'); end >= 0 {
				end += 2
			}
		}
		if end < 0 {
			end = len(value)
		}
		if slices.Contains(keys, strings.ToLower(string(key))) {
			if at, ok := stamp(&scan{bytes.Trim(value[:end], `"`)}, now); ok {
				return at, true
			}
		}
		rest = bytes.TrimLeft(value[end:], " \t")
	}
	return time.Time{}, false
}

func ofJSON(line []byte, now time.Time) (time.Time, bool) {
	if !json.Valid(line) {
		return time.Time{}, false
	}
	members, _ := rawjson.Object(line)
	best := len(keys)
	var found time.Time
	for {
		key, value, ok := members.Next()
		if !ok {
			return found, best < len(keys)
		}
		name, _ := rawjson.String(key)
		if len(name) > head {
			continue
		}
		if rank := slices.Index(keys[:best], strings.ToLower(string(name))); rank >= 0 {
			if at, ok := ofValue(value, now); ok {
				found, best = at, rank
			}
		}
	}
}

// ofValue is the time of a text, a number since 1970, or an object of seconds and nanoseconds or with a "$date".
func ofValue(value []byte, now time.Time) (time.Time, bool) {
	switch rawjson.Kind(value) {
	case '"':
		text, _ := rawjson.String(value)
		return stamp(&scan{text}, now)
	case '0':
		return epoch(string(value))
	case '{':
	default:
		return time.Time{}, false
	}
	var at time.Time
	var nanoseconds time.Duration
	known := false
	members, _ := rawjson.Object(value)
	for {
		key, part, ok := members.Next()
		if !ok {
			return at.Add(nanoseconds), known
		}
		switch string(key) {
		case `"seconds"`, `"epochSecond"`:
			at, known = epoch(string(bytes.Trim(part, `"`)))
		case `"nanos"`, `"nanoOfSecond"`:
			var n uint32
			if json.Unmarshal(part, &n) == nil {
				nanoseconds = time.Duration(n)
			}
		case `"$date"`:
			if rawjson.Kind(part) != '{' {
				return ofValue(part, now)
			}
		}
	}
}
