package cmd

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// The process that hey runs in takes its job from the standard input, and leaves its result on the standard output.
func TestLoadtestBurst(t *testing.T) {
	isolate(t)
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, "{}")
	}))
	defer s.Close()
	job := `{"endpoint":{"transport":"http","host":"localhost","port":80,"path":"/mcp","address":"` + s.Listener.Addr().String() + `"},` +
		`"body":"e30=","connections":2,"duration":1000000000}`
	var out, errOut bytes.Buffer
	if code := Main([]string{"loadtest", "burst"}, strings.NewReader(job), &out, &errOut); code != 0 || errOut.Len() > 0 {
		t.Fatalf("code %d, %s", code, errOut.String())
	}
	var r struct {
		Requests, Answered int64
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Answered == 0 || r.Answered != r.Requests || r.Requests != asked.Load() {
		t.Errorf("%s, %v, the server was asked %d times", out.Bytes(), err, asked.Load())
	}
	out.Reset()
	if code := Main([]string{"loadtest", "burst"}, strings.NewReader("{"), &out, &errOut); code != 1 || out.Len() > 0 ||
		!strings.HasPrefix(errOut.String(), "erlmcp: hey: read what is to be done: ") {
		t.Errorf("code %d, %s", code, errOut.String())
	}
}
