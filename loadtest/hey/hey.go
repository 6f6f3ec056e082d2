// Package hey is the life of a process that makes load with the library github.com/rakyll/hey.
package hey

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rakyll/hey/requester"

	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/burst"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
)

// Serve reads a job as JSON, does it, and writes the result as JSON. The end of the context ends it without a result.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	prefork.NameProcess()
	if _, err := prefork.Limit(); err != nil {
		return err
	}
	var j burst.Job
	if err := json.NewDecoder(io.LimitReader(in, burst.MostJob)).Decode(&j); err != nil {
		return fmt.Errorf("hey: read what is to be done: %w", err)
	}
	r, err := run(ctx, &j, burst.MostKept)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// everything is the template of the report that hey makes. Its form "csv" leaves out requests that failed, and has tenths of
// milliseconds.
const everything = `{"requests":{{.NumRes}},"took":{{.Total.Nanoseconds}},"bytes":{{.SizeTotal}},"errors":{{jsonify .ErrorDist}},` +
	`"latencies":{{jsonify .Lats}},"statuses":{{jsonify .StatusCodes}}}`

// report is what the template makes.
type report struct {
	Requests  int64            `json:"requests"` // all
	Took      time.Duration    `json:"took"`
	Bytes     int64            `json:"bytes"`
	Errors    map[string]int64 `json:"errors"`    // by their text
	Latencies []float64        `json:"latencies"` // seconds, of all others
	Statuses  []int            `json:"statuses"`
}

// run does a job, or so many requests of it.
func run(ctx context.Context, j *burst.Job, most int) (burst.Result, error) {
	var printed bytes.Buffer
	w := &requester.Work{
		// It only says the name for TLS: requests are made one by one.
		Request: &http.Request{Host: j.Endpoint.ServerName()},
		N:       math.MaxInt, C: j.Connections, Timeout: j.MaxTimeout(),
		DisableCompression: true, // it would be decompressed; DisableRedirects is a data race of its workers
		Output:             everything, Writer: &printed,
	}
	w.Init()
	stop := sync.OnceFunc(w.Stop)
	q := newRequests(ctx, j, int64(most-j.Connections), stop) // each connection may be in the middle of one then
	w.RequestFunc = q.next
	timer := time.AfterFunc(time.Duration(burst.Seconds(j.Duration))*time.Second, stop)
	defer timer.Stop()
	defer context.AfterFunc(ctx, stop)()
	w.Run()
	if ctx.Err() != nil {
		return burst.Result{}, context.Cause(ctx)
	}
	var p report
	if err := json.Unmarshal(printed.Bytes(), &p); err != nil {
		return burst.Result{}, fmt.Errorf("hey: its report cannot be read: %w", err)
	}
	r, err := p.result()
	if err == nil && q.enough() {
		r.Note("hey ended after %s and %d requests, as it keeps %d answers at most.", r.Took.Round(time.Second/10), r.Requests, most)
	}
	return r, err
}

// requests makes them.
type requests struct {
	model         *http.Request
	before, after []byte // the number
	numbered      bool
	begun         atomic.Int64
	most          int64
	stop          func()
}

func newRequests(ctx context.Context, j *burst.Job, most int64, stop func()) *requests {
	header := make(http.Header)
	for _, f := range j.Fields() {
		header.Set(f.Name, f.Value)
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "hey/"+burst.HeyVersion)
	}
	q := &requests{
		model: (&http.Request{Method: http.MethodPost, URL: j.URL(), Host: j.Host(), Header: header}).WithContext(ctx),
		most:  most, stop: stop, before: j.Body,
	}
	if j.Number != "" {
		q.before, q.after, q.numbered = bytes.Cut(j.Body, []byte(j.Number))
	}
	return q
}

// next is called by many at a time. Nobody changes URL and header, which all requests share.
func (q *requests) next() *http.Request {
	n := q.begun.Add(1)
	if n == q.most {
		q.stop()
	}
	body := q.before
	if q.numbered {
		body = strconv.AppendInt(bytes.Clone(q.before), burst.FirstNumber+n, 10)
		body = append(body, q.after...)
	}
	r := q.model.WithContext(q.model.Context()) // a copy
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return r
}

// enough reports whether there were as many as there may be.
func (q *requests) enough() bool { return q.begun.Load() >= q.most }

func (p *report) result() (burst.Result, error) {
	if len(p.Latencies) != len(p.Statuses) {
		return burst.Result{}, fmt.Errorf("hey: its report makes no sense: %d latencies, %d statuses", len(p.Latencies), len(p.Statuses))
	}
	r := burst.Result{Requests: p.Requests, Bytes: p.Bytes, Took: p.Took}
	h := latency.New()
	for i, status := range p.Statuses {
		if status < 200 || status > 299 {
			r.Failed(strconv.Itoa(status), 1)
			continue
		}
		r.Answered++
		latency.Record(h.Histogram, int64(p.Latencies[i]*float64(time.Second)))
	}
	for text, n := range p.Errors {
		r.Failed(cause(text).String(), n)
	}
	if r.Answered == 0 {
		return r, nil
	}
	m, err := h.Message()
	g := h.Histogram
	r.Latency = burst.Latency{
		Count: g.TotalCount(), Min: g.Min(), Mean: math.Round(g.Mean()*10) / 10, P50: g.ValueAtQuantile(50), P90: g.ValueAtQuantile(90),
		P99: g.ValueAtQuantile(99), P999: g.ValueAtQuantile(99.9), Max: g.Max(), Histogram: m.Histogram,
	}
	return r, err
}

// causes are parts of the texts of errors, of which hey keeps nothing else.
var causes = []struct {
	part  string
	cause ask.Cause
}{
	{"connection refused", ask.CauseRefused},
	{"connection reset", ask.CauseReset}, {"broken pipe", ask.CauseReset},
	{"Client.Timeout", ask.CauseTimeout}, {"deadline exceeded", ask.CauseTimeout}, {"timed out", ask.CauseTimeout}, {"timeout", ask.CauseTimeout},
	{"too many open files", ask.CauseLocal}, {"cannot assign requested address", ask.CauseLocal}, {"address already in use", ask.CauseLocal},
	{"no buffer space", ask.CauseLocal}, {"cannot allocate memory", ask.CauseLocal},
	{"EOF", ask.CauseClosed}, {"server closed idle connection", ask.CauseClosed},
	{"malformed HTTP", ask.CauseReply},
}

func cause(text string) ask.Cause {
	// In front is what was asked: Post "URL": …
	if _, behind, ok := strings.Cut(text, `": `); ok {
		text = behind
	}
	for _, c := range causes {
		if strings.Contains(text, c.part) {
			return c.cause
		}
	}
	return ask.CauseNetwork
}
