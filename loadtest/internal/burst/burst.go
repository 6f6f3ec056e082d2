// Package burst has closed-loop load on an MCP server over HTTP made by programs that people know: wrk, ab, and hey, which
// is a library that a process of this program runs. Each connection asks again as soon as it is answered.
package burst

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

// Job is what a driver does: so many connections ask the same, again and again. It has secrets.
type Job struct {
	Endpoint    target.Endpoint `json:"endpoint"`
	Header      []target.Field  `json:"header,omitempty"` // beside the endpoint's; nothing that is secret
	Body        []byte          `json:"body"`
	Number      string          `json:"number,omitempty"` // is once in Body, and each request has 16 digits of its own there; empty: all are the same
	Connections int             `json:"connections"`
	Duration    time.Duration   `json:"duration"`          // rounded up to seconds
	Timeout     time.Duration   `json:"timeout,omitempty"` // of one answer, rounded up to seconds; zero: 10 s
}

// Result is what came of a job.
type Result struct {
	Requests int64            `json:"requests"`         // that came to an end of any kind
	Answered int64            `json:"answered"`         // with a status of 200 to 299, in time
	Errors   map[string]int64 `json:"errors,omitempty"` // all others, by status or cause
	Latency  Latency          `json:"latency_us"`
	Nodes    map[string]int64 `json:"nodes,omitempty"` // answers, by their X-Served-By; nil where the driver does not see that
	Bytes    int64            `json:"bytes"`           // of responses; of hey what they declare
	Took     time.Duration    `json:"took"`
	Process  Process          `json:"process"`
	Notes    []string         `json:"notes,omitempty"` // what is particular about this result, for the report
}

// Latency is in microseconds: of answers, or where the driver does not tell these apart of all responses. What it does not
// know is 0.
type Latency struct {
	Count     int64   `json:"count"`
	Min       int64   `json:"min"`
	Mean      float64 `json:"mean"`
	P50       int64   `json:"p50"`
	P90       int64   `json:"p90"`
	P99       int64   `json:"p99"`
	P999      int64   `json:"p999"`
	Max       int64   `json:"max"`
	Histogram string  `json:"histogram,omitempty"` // as in latency.Message
}

// check says what cannot be.
func (l *Latency) check() error {
	last := int64(0)
	for _, us := range []int64{l.Min, l.P50, l.P90, l.P99, l.P999, l.Max} {
		if us != 0 && us < last || us < 0 || us > most {
			return fmt.Errorf("its latencies make no sense: %+v", *l)
		}
		last = max(last, us)
	}
	if !(l.Mean >= 0 && l.Mean < most) {
		return fmt.Errorf("its latencies make no sense: the mean is %g", l.Mean)
	}
	return nil
}

// most is more than any number in the result of a job.
const most = 1 << 50

// Process is what the process that made the load has used.
type Process struct {
	CPU      time.Duration `json:"cpu"`
	RSSBytes int64         `json:"rss_bytes"` // the most
}

// Driver makes load.
type Driver interface {
	Name() string
	// Find looks for the program, which is asked for its version. The error is a *MissingError where there is none.
	Find(ctx context.Context) (Program, error)
	// Fits says what keeps the driver from a job, with advice.
	Fits(j *Job) error
	// Run does a job that fits. The end of the context ends it without a result, with the context's cause.
	Run(ctx context.Context, j Job) (Result, error)
	// Tells says what results of the driver are worth.
	Tells() Tells
}

// Drivers are all of them, in the order in which operators reach for them. The last is always there.
func Drivers() []Driver { return []Driver{wrk{}, ab{}, hey{}} }

// Auto is the first driver that is there and can do a job. The error is of the last, which can do what any can.
func Auto(ctx context.Context, j *Job) (d Driver, p Program, err error) {
	for _, d = range Drivers() {
		if err = d.Fits(j); err != nil {
			continue
		}
		if p, err = d.Find(ctx); err == nil {
			return d, p, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, Program{}, err
}

const (
	defaultTimeout = 10 * time.Second
	longestTimeout = time.Minute // wrk has 8 bytes for each microsecond of it
	longest        = 24 * time.Hour
	mostBody       = 4 << 20
)

// MostJob is how long a job can get as JSON.
const MostJob = 2*mostBody + 1<<20

func (j *Job) timeout() time.Duration {
	if j.Timeout == 0 {
		return defaultTimeout
	}
	return j.Timeout
}

// Seconds rounds up, as programs count in whole ones.
func Seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// MaxTimeout is that of one answer in whole seconds.
func (j *Job) MaxTimeout() int { return Seconds(j.timeout()) }

// ending is how long after the duration of a job its program may take for the rest.
const ending = 15 * time.Second

// patience is how long a program may take for a job.
func (j *Job) patience() time.Duration {
	return time.Duration(Seconds(j.Duration)+j.MaxTimeout())*time.Second + ending
}

// Failed counts requests that were not answered, by status or cause.
func (r *Result) Failed(cause string, n int64) {
	if n <= 0 {
		return
	}
	if r.Errors == nil {
		r.Errors = make(map[string]int64)
	}
	r.Errors[cause] += n
}

// Note adds a sentence for the report.
func (r *Result) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// encode is the job as another process reads it.
func (j *Job) encode() []byte {
	text, _ := json.Marshal(j) // has nothing that cannot be
	return text
}
