package proxytest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// WrkReport is what wrk --latency prints.
type WrkReport struct {
	Requests int
	Rate     float64 // requests/s
	P50, P99 time.Duration
}

var (
	wrkFaults   = regexp.MustCompile(`(?m)^ *(Socket errors|Non-2xx or 3xx responses): .*$`)
	wrkRequests = regexp.MustCompile(`(?m)^ *(\d+) requests in `)
	wrkRate     = regexp.MustCompile(`(?m)^Requests/sec: +([0-9.]+)$`)
	wrkP50      = regexp.MustCompile(`(?m)^ *50% +(\S+) *$`)
	wrkP99      = regexp.MustCompile(`(?m)^ *99% +(\S+) *$`)
)

// ReadWrk reads the report of a run in which nothing went wrong.
func ReadWrk(output string) (r WrkReport, err error) {
	if fault := wrkFaults.FindString(output); fault != "" {
		return r, fmt.Errorf("not every request was answered: %s", strings.TrimSpace(fault))
	}
	field := func(name string, pattern *regexp.Regexp, read func(string) error) {
		if err != nil {
			return
		}
		match := pattern.FindStringSubmatch(output)
		if match == nil {
			err = fmt.Errorf("wrk reports no %s", name)
		} else if e := read(match[1]); e != nil {
			err = fmt.Errorf("wrk's %s: %w", name, e)
		}
	}
	field("requests", wrkRequests, func(s string) (e error) { r.Requests, e = strconv.Atoi(s); return e })
	field("rate", wrkRate, func(s string) (e error) { r.Rate, e = strconv.ParseFloat(s, 64); return e })
	field("p50", wrkP50, func(s string) (e error) { r.P50, e = time.ParseDuration(s); return e })
	field("p99", wrkP99, func(s string) (e error) { r.P99, e = time.ParseDuration(s); return e })
	if err == nil && r.Requests == 0 {
		err = fmt.Errorf("no request was answered")
	}
	return r, err
}
