package burst

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var abFailures = regexp.MustCompile(`(\w+): (\d+)`)

// parseAB reads what ab has printed, and its table of percentiles, "PERCENT,MILLISECONDS" in each line.
func parseAB(printed, table []byte) (Result, error) {
	t := abText{fields: make(map[string]string)}
	for line := range strings.Lines(string(printed)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "(") {
			t.failures = line
		} else if name, value, ok := strings.Cut(line, ":"); ok && len(t.fields) < mostFields {
			if _, known := t.fields[name]; !known { // of "Time per request", the first is of one connection
				t.fields[name] = strings.TrimSpace(value)
			}
		}
	}
	r, err := t.result()
	if err != nil || r.Requests == 0 {
		return r, err
	}
	if err := r.Latency.ofTable(table); err != nil {
		return r, err
	}
	return r, r.Latency.check()
}

// mostFields is more than ab has.
const mostFields = 100

// abText is the report of ab.
type abText struct {
	fields   map[string]string
	failures string // "(Connect: 0, Receive: 0, Length: 0, Exceptions: 0)"
	err      error  // the first
}

// number is the number that a field begins with; 0 if ab leaves it out, as it does where there is nothing to tell.
func (t *abText) number(name string, required bool) float64 {
	text, known := t.fields[name]
	if !known && !required {
		return 0
	}
	digits, _, _ := strings.Cut(text, " ")
	n, err := strconv.ParseFloat(digits, 64)
	if t.err == nil && (err != nil || n < 0 || n > most || math.IsNaN(n)) {
		t.err = fmt.Errorf("its result makes no sense: %q is %q", name, text)
		if !known {
			t.err = fmt.Errorf("it has printed no result: %q is missing", name)
		}
	}
	return n
}

func (t *abText) result() (Result, error) {
	r := Result{
		Took:     time.Duration(t.number("Time taken for tests", true) * float64(time.Second)),
		Requests: int64(t.number("Complete requests", true)),
		Bytes:    int64(t.number("Total transferred", true)),
	}
	if r.Requests > 0 {
		r.Latency.Mean = t.number("Time per request", true) * 1000
	}
	refused, kept := int64(t.number("Non-2xx responses", false)), int64(t.number("Keep-Alive requests", true))
	r.Failed("non-2xx", refused)
	r.Failed("write", int64(t.number("Write errors", false)))
	complete, lost := r.Requests, refused
	for _, m := range abFailures.FindAllStringSubmatch(t.failures, -1) {
		n, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil || n > most {
			return Result{}, fmt.Errorf("its result makes no sense: failures %q", t.failures)
		}
		cause := strings.ToLower(m[1])
		r.Failed(cause, n)
		if cause == "connect" { // is in no other count
			r.Requests += n
		} else {
			lost += n
		}
	}
	if t.err != nil {
		return Result{}, t.err
	}
	if refused > complete || kept > complete {
		return Result{}, fmt.Errorf("its result makes no sense: %d refused and %d kept of %d requests", refused, kept, complete)
	}
	r.Answered = max(complete-lost, 0) // ab may count a failure twice
	r.Latency.Count = complete
	if kept < complete {
		r.Note("%d of %d requests through ab left no connection that could be used again: latencies have connecting in them.", complete-kept, complete)
	}
	return r, nil
}

var errNoTable = errors.New("it has written no table of percentiles")

// ofTable has the percentiles of a table.
func (l *Latency) ofTable(table []byte) error {
	seen := make(map[string]bool)
	for line := range bytes.Lines(table) {
		percent, text, _ := strings.Cut(string(bytes.TrimSpace(line)), ",")
		at := map[string]*int64{"0": &l.Min, "50": &l.P50, "90": &l.P90, "99": &l.P99, "100": &l.Max}[percent]
		if at == nil {
			continue
		}
		ms, err := strconv.ParseFloat(text, 64)
		if err != nil || !(ms >= 0 && ms < most) {
			return fmt.Errorf("its table of percentiles makes no sense: %q%% is %q", percent, text)
		}
		*at, seen[percent] = int64(math.Round(ms*1000)), true
	}
	if !seen["50"] || !seen["90"] || !seen["99"] { // old versions have no 100
		return errNoTable
	}
	return nil
}
