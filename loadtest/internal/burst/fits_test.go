package burst

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

func fields(namesAndValues ...string) (f []target.Field) {
	for pair := range slices.Chunk(namesAndValues, 2) {
		f = append(f, target.Field{Name: pair[0], Value: pair[1]})
	}
	return f
}

func testJob() Job {
	return Job{
		Endpoint: target.Endpoint{
			Target:  target.Target{Transport: target.HTTP, Host: "localhost", Port: 8080, Path: "/mcp"},
			Address: netip.MustParseAddrPort("127.0.0.1:8080"),
		},
		Body: []byte(`{"id":N}`), Connections: 10, Duration: time.Second,
	}
}

func TestFits(t *testing.T) {
	m := machine{func() (uint64, error) { return 20_000, nil }, func() int { return 15_000 }}
	for _, c := range []struct {
		change           func(*Job)
		want, adviceSays string // empty: it fits
	}{
		{func(*Job) {}, "", ""},
		{func(j *Job) { j.Connections = 15_000 }, "", ""},
		{func(j *Job) { j.Connections = 15_001 }, "there are no more ports", "ip_local_port_range"},
		{func(j *Job) { j.Connections = 19_745 }, "can hold 19744 connections here, not 19745: its limit of open files is 20000", "ulimit -Hn"},
		{func(j *Job) { j.Connections = 0 }, "needs a connection", "give it some"},
		{func(j *Job) { j.Endpoint.Transport = target.SSE }, "speaks Streamable HTTP only, not sse", "driver socket"},
		{func(j *Job) { j.Endpoint.Address = netip.AddrPort{} }, "has no address of localhost", "resolve"},
		{func(j *Job) { j.Endpoint.HTTP2 = true }, "HTTP/2", "vegeta"},
		{func(j *Job) { j.Endpoint.Secure = true }, "does not check certificates", "--insecure"},
		{func(j *Job) { j.Endpoint.Secure, j.Endpoint.TLS.Insecure = true, true }, "", ""},
		{func(j *Job) { j.Duration = 0 }, "cannot run for 0s", "a day"},
		{func(j *Job) { j.Timeout = time.Hour }, "cannot wait 1h0m0s", "a minute"},
		{func(j *Job) { j.Body = nil }, "a body of 0 bytes", "bytes"},
		{func(j *Job) { j.Body = make([]byte, mostBody+1) }, "cannot send a body", "bytes"},
		{func(j *Job) { j.Number = "N" }, "", ""},
		{func(j *Job) { j.Number = "M" }, "cannot number requests", "once"},
		{func(j *Job) { j.Header = fields("X-A", "s3cr3t\r\nEvil: 1") }, `header field "X-A"`, "correct"},
		{func(j *Job) { j.Endpoint.Header = fields("X A", "s3cr3t") }, `header field "X A"`, "correct"},
	} {
		j := testJob()
		c.change(&j)
		err := fits("wrk", &j, m)
		hint, _ := advice.Of(err)
		switch {
		case c.want == "" && err != nil:
			t.Error(err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "wrk ") || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(hint, c.adviceSays) || strings.Contains(err.Error()+hint, "s3cr3t")):
			t.Errorf("error %v, hint %s, want %s", err, hint, c.want)
		}
	}
	m.descriptors = func() (uint64, error) { return 0, errors.New("no") }
	if err := m.fits("wrk", 1); err == nil {
		t.Error("no error")
	}
}

// Secrets do not get onto a command line.
func TestABTakesNoSecrets(t *testing.T) {
	j := testJob()
	if err := (ab{}).Fits(&j); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Job){
		"secret":      func(j *Job) { j.Endpoint.Header = fields("Authorization", "s3cr3t") },
		"number":      func(j *Job) { j.Number = "N" },
		"connections": func(j *Job) { j.Connections = 20_001 },
	} {
		j := testJob()
		change(&j)
		_, err := ab{}.Run(t.Context(), j)
		if hint, _ := advice.Of(err); err == nil || strings.Contains(err.Error(), "s3cr3t") || !strings.Contains(hint, "choose the driver wrk or hey") {
			t.Errorf("%s: %v, hint %s", name, err, hint)
		}
	}
	j.Endpoint.Secure, j.Header = true, fields("Content-Type", "text/x", "Mcp-Session-Id", "id")
	args := abArguments(&j, "BODY", "TABLE")
	want := "-q -l -r -k -c 10 -s 10 -t 1 -n 200000 -p BODY -e TABLE -H Host: localhost:8080 -T text/x -H Mcp-Session-Id: id " +
		"-H Accept: application/json, text/event-stream https://127.0.0.1:8080/mcp"
	if got := strings.Join(args, " "); got != want {
		t.Errorf("%s", got)
	}
}
