package cluster

import (
	"bytes"
	"encoding/json"
	"regexp"
	"time"
)

// Filter chooses lines of logs. It keeps something about each log, so one Filter serves one [Tail].
type Filter struct {
	Since time.Time      // lines written before are left out; zero is none. A line without a time is as old as the one before it
	Match *regexp.Regexp // lines that it does not match are left out; nil is none

	latest map[string]bool // whether the last time seen in a node's log is late enough
}

// Through returns a print function for [Tail] that hands on the lines that f chooses.
func (f *Filter) Through(print func(node string, line []byte) error) func(node string, line []byte) error {
	if f.Since.IsZero() && f.Match == nil {
		return print
	}
	f.latest = map[string]bool{}
	return func(node string, line []byte) error {
		if !f.chooses(node, line) {
			return nil
		}
		return print(node, line)
	}
}

func (f *Filter) chooses(node string, line []byte) bool {
	if !f.Since.IsZero() {
		if at, ok := lineTime(line); ok {
			f.latest[node] = !at.Before(f.Since)
		}
		if !f.latest[node] {
			return false
		}
	}
	return f.Match == nil || f.Match.Match(line)
}

// longestTime is what the longest time in RFC 3339 takes, in bytes.
const longestTime = len("2006-01-02T15:04:05.000000000+00:00")

// lineTime is the time a line begins with, in RFC 3339, or has in its member "time" or "ts" when it
// is a JSON object.
func lineTime(line []byte) (time.Time, bool) {
	line = bytes.TrimLeft(line, " \t")
	if len(line) > 0 && line[0] == '{' {
		var object struct {
			Time time.Time `json:"time"`
			TS   time.Time `json:"ts"`
		}
		if json.Unmarshal(line, &object) != nil {
			return time.Time{}, false
		}
		if object.Time.IsZero() {
			object.Time = object.TS
		}
		return object.Time, !object.Time.IsZero()
	}
	word := line[:min(len(line), longestTime+1)]
	if end := bytes.IndexAny(word, " \t"); end >= 0 {
		word = word[:end]
	}
	at, err := time.Parse(time.RFC3339Nano, string(word))
	return at, err == nil
}
