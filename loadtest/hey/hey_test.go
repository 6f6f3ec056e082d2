package hey

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/loadtest/internal/burst"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers by a handler, and counts.
func serve(t *testing.T, h http.HandlerFunc) (burst.Job, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return burst.Job{
		Endpoint: target.Endpoint{
			Target:  target.Target{Transport: target.HTTP, Host: "localhost", Port: 8080, Path: "/mcp"},
			Address: netip.MustParseAddrPort(s.Listener.Addr().String()),
		},
		Body: []byte("{}"), Connections: 4, Duration: time.Minute,
	}, &n
}

// What is kept is bounded, so that the status of every request is known: then it is over before its time.
func TestItEndsWithWhatItCanKeep(t *testing.T) {
	j, asked := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	const most = 500
	r, err := run(t.Context(), &j, most)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests < most-int64(j.Connections) || r.Requests > most || r.Answered != r.Requests || r.Requests != asked.Load() || r.Latency.Count != r.Answered {
		t.Errorf("%+v, the server was asked %d", r, asked.Load())
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "keeps 500 answers") {
		t.Errorf("notes %q", r.Notes)
	}
	h, err := latency.Message{Histogram: r.Latency.Histogram}.Recording()
	if err != nil || h.Histogram.TotalCount() != r.Answered || h.Histogram.Max() != r.Latency.Max {
		t.Errorf("histogram: %v", err)
	}
}

// Responses count by their status, and latency is of answers only.
func TestStatuses(t *testing.T) {
	var turn atomic.Int64
	j, asked := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader([]int{200, 202, 404, 429, 503}[turn.Add(1)%5])
	})
	j.Connections = 5
	r, err := run(t.Context(), &j, 105)
	if err != nil {
		t.Fatal(err)
	}
	sum := r.Answered
	for status, n := range r.Errors {
		sum += n
		if n < 19 || n > 22 {
			t.Errorf("%d of %s", n, status)
		}
	}
	if sum != r.Requests || r.Requests != asked.Load() || len(r.Errors) != 3 || r.Latency.Count != r.Answered {
		t.Errorf("%+v", r)
	}
}

func TestServe(t *testing.T) {
	j, asked := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	j.Duration = time.Second
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Serve(t.Context(), bytes.NewReader(text), &out); err != nil {
		t.Fatal(err)
	}
	var r burst.Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Answered == 0 || r.Answered != asked.Load() {
		t.Errorf("%+v, %v", r, err)
	}
	if err := Serve(t.Context(), strings.NewReader("nonsense"), &out); err == nil || !strings.HasPrefix(err.Error(), "hey: read what is to be done: ") {
		t.Errorf("error %v", err)
	}
}

// The end of the context ends what is under way.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	j, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the end of the connection is not seen
		cancel(enough)
		<-r.Context().Done()
	})
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Serve(ctx, bytes.NewReader(text), &out); !errors.Is(err, enough) || out.Len() > 0 {
		t.Errorf("error %v, %s", err, out.Bytes())
	}
}

// hey keeps no more of an error than its text.
func TestCauses(t *testing.T) {
	const front = `Post "http://127.0.0.1:1/timeout": `
	for text, want := range map[string]string{
		front + "dial tcp 127.0.0.1:1: connect: connection refused":                          "refused",
		front + "read tcp 127.0.0.1:2->127.0.0.1:1: read: connection reset by peer":          "reset",
		front + "context deadline exceeded (Client.Timeout exceeded while awaiting headers)": "timeout",
		front + "dial tcp 127.0.0.1:1: socket: too many open files":                          "local",
		front + "dial tcp 127.0.0.1:1: connect: cannot assign requested address":             "local",
		front + "EOF": "closed",
		front + "http: server closed idle connection":                                              "closed",
		front + "net/http: HTTP/1.x transport connection broken: malformed HTTP status code \"x\"": "reply",
		front + "something else": "network",
		"":                       "network",
	} {
		if got := cause(text).String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestReportsThatMakeNoSense(t *testing.T) {
	if _, err := (&report{Latencies: []float64{1}}).result(); err == nil {
		t.Error("no error")
	}
	r, err := (&report{Requests: 3, Errors: map[string]int64{"EOF": 2, "other": 1}}).result()
	if err != nil || fmt.Sprint(r.Errors) != "map[closed:2 network:1]" || r.Latency != (burst.Latency{}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// The version that is told is that of the library.
func TestVersion(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil || !strings.Contains(string(text), "github.com/rakyll/hey v"+burst.HeyVersion+"\n") {
		t.Errorf("go.mod does not require hey %s, error %v", burst.HeyVersion, err)
	}
}
