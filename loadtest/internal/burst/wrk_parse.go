package burst

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// wrkSummary is the line that the script for wrk prints.
type wrkSummary struct {
	TookUs   int64            `json:"took_us"`
	Requests int64            `json:"requests"` // responses
	Bytes    int64            `json:"bytes"`
	Errors   map[string]int64 `json:"errors"`
	Statuses map[string]int64 `json:"statuses"`
	Nodes    map[string]int64 `json:"nodes"`
	Latency  Latency          `json:"latency_us"`
}

var wrkMark = []byte(`{"burst":1,`)

const timeout = "timeout"

// parseWrk reads what wrk has printed.
func parseWrk(printed []byte) (Result, error) {
	var line []byte
	for l := range bytes.Lines(printed) {
		if bytes.HasPrefix(l, wrkMark) {
			line = l
		}
	}
	if line == nil {
		return Result{}, errors.New("it has printed no result")
	}
	var s wrkSummary
	if err := json.Unmarshal(line, &s); err != nil {
		return Result{}, fmt.Errorf("its result cannot be read: %w", err)
	}
	return s.result()
}

func (s *wrkSummary) result() (Result, error) {
	r := Result{Requests: s.Requests, Latency: s.Latency, Nodes: s.Nodes, Bytes: s.Bytes, Took: time.Duration(s.TookUs) * time.Microsecond}
	if r.Nodes == nil {
		r.Nodes = make(map[string]int64)
	}
	var responses int64
	for text, n := range s.Statuses {
		status, err := strconv.Atoi(text)
		if err != nil || status < 0 || status > 999 || n < 0 || n > s.Requests {
			return Result{}, fmt.Errorf("its result makes no sense: %d responses with status %q", n, text)
		}
		responses += n
		if status >= 200 && status < 300 {
			r.Answered += n
		} else {
			r.Failed(text, n)
		}
	}
	if s.Requests < 0 || s.Requests > most || responses != s.Requests || s.TookUs <= 0 || s.TookUs > most || s.Bytes < 0 {
		return Result{}, fmt.Errorf("its result makes no sense: %d responses, of %d the status is known", s.Requests, responses)
	}
	for node, n := range s.Nodes {
		if n < 0 || n > r.Answered {
			return Result{}, fmt.Errorf("its result makes no sense: %d answers of %q", n, node)
		}
	}
	r.Latency.Count = s.Requests
	for cause, n := range s.Errors {
		if n < 0 || n > most {
			return Result{}, fmt.Errorf("its result makes no sense: %d errors %q", n, cause)
		}
		if cause == timeout { // came too late, and are responses as well
			r.Latency.Count = max(r.Latency.Count-n, 0)
			n = min(n, r.Answered)
			r.Answered -= n
		} else {
			r.Requests += n
		}
		r.Failed(cause, n)
	}
	if r.Latency.Max == 0 {
		r.Latency.Count = 0
	}
	return r, r.Latency.check()
}
