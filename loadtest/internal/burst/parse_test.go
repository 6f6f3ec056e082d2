package burst

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// file is one of testdata.
func file(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func before(text, part string) string {
	text, _, _ = strings.Cut(text, part)
	return text
}

func TestWrkVersions(t *testing.T) {
	const usage = "\nUsage: wrk <options> <url>\n"
	for said, want := range map[string]string{
		"wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer" + usage: "4.1.0-3+b2",
		"wrk 4.2.0 [kqueue] Copyright (C) 2012 Will Glozer" + usage:            "4.2.0",
		"wrk 4.2.0-1-ga211dd5 [epoll] Copyright (C) 2012 Will Glozer" + usage:  "4.2.0-1-ga211dd5",
		"wrk  [epoll] Copyright (C) 2012 Will Glozer" + usage:                  "",
	} {
		if got, err := wrkVersion(said); got != want || err != nil {
			t.Errorf("%q: %q, %v", said, got, err)
		}
	}
	for said, want := range map[string]string{
		"":                                    "no wrk that is known",
		"hello":                               "no wrk that is known",
		"wrk 3.1.2 [epoll] Copyright" + usage: "is version 3.1.2",
		"wrk 4.0.0 [epoll] Copyright" + usage + "  -R, --rate  <T>  work rate (throughput)\n": "is wrk2",
	} {
		if got, err := wrkVersion(said); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", said, got, err)
		}
	}
}

func TestABVersions(t *testing.T) {
	for said, want := range map[string]string{
		"This is ApacheBench, Version 2.3 <$Revision: 1923142 $>\nCopyright": "2.3 (revision 1923142)",
		"This is ApacheBench, Version 2.0.40-dev <$Revision: 1.146 $>":       "2.0.40-dev",
		"This is ApacheBench, Version 2.3":                                   "2.3",
	} {
		if got, err := abVersion(said); got != want || err != nil {
			t.Errorf("%q: %q, %v", said, got, err)
		}
	}
	if _, err := abVersion("usage: ab"); err == nil {
		t.Error("no error")
	}
}

func TestParseWrk(t *testing.T) {
	const tail = `,"statuses":{"200":95,"503":5},"nodes":{"a":90,"b":5},"latency_us":{"min":10,"mean":20,"p50":18,"p90":30,"p99":40,"p999":41,"max":50}}`
	const head = `{"burst":1,"took_us":2000000,"requests":100,"bytes":1000,`
	r, err := parseWrk([]byte("Running\n  100 requests in 2.00s\n\n" + head + `"errors":{"connect":1,"read":2,"write":0,"timeout":3}` + tail + "\n"))
	want := Result{
		Requests: 103, Answered: 92, Errors: map[string]int64{"connect": 1, "read": 2, "timeout": 3, "503": 5}, Nodes: map[string]int64{"a": 90, "b": 5},
		Latency: Latency{Count: 97, Min: 10, Mean: 20, P50: 18, P90: 30, P99: 40, P999: 41, Max: 50}, Bytes: 1000, Took: 2 * time.Second,
	}
	if err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("%+v, %v, want\n%+v", r, err, want)
	}

	const none = `{"burst":1,"took_us":1000,"requests":0,"bytes":0,"errors":{"connect":0},"statuses":{},"nodes":{},"latency_us":{}}`
	if r, err := parseWrk([]byte(none)); err != nil || r.Requests != 0 || r.Latency != (Latency{}) || len(r.Errors) > 0 {
		t.Errorf("%+v, %v", r, err)
	}

	for name, text := range map[string]string{
		"nothing":             "",
		"no line":             "Running\n  0 requests in 1s\n",
		"truncated":           head + `"errors":{`,
		"statuses missing":    `{"burst":1,"took_us":1,"requests":5}`,
		"more than responses": strings.Replace(head+`"errors":{}`+tail, `"503":5`, `"503":500`, 1),
		"negative":            strings.Replace(head+`"errors":{}`+tail, `"503":5`, `"503":-5`, 1),
		"no status":           strings.Replace(head+`"errors":{}`+tail, `"503":5`, `"x":5`, 1),
		"negative errors":     head + `"errors":{"read":-1}` + tail,
		"too large":           strings.Replace(head+`"errors":{}`+tail, `"requests":100`, `"requests":1e30`, 1),
		"too many of a node":  strings.Replace(head+`"errors":{}`+tail, `"a":90`, `"a":99`, 1),
		"no time":             strings.Replace(head+`"errors":{}`+tail, `"took_us":2000000`, `"took_us":0`, 1),
		"unordered":           strings.Replace(head+`"errors":{}`+tail, `"p99":40`, `"p99":4`, 1),
	} {
		if r, err := parseWrk([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestParseAB(t *testing.T) {
	for name, want := range map[string]Result{
		"ab-good": {
			Requests: 53967, Answered: 53967, Bytes: 8580753, Took: time.Second,
			Latency: Latency{Count: 53967, Min: 13, Mean: 74, P50: 66, P90: 95, P99: 184, Max: 11606},
		},
		// After each answer, the server closes; some it refuses, some it does not answer.
		"ab-bad": {
			Requests: 1005, Answered: 850, Bytes: 158500, Took: 1500 * time.Millisecond,
			Errors:  map[string]int64{"non-2xx": 100, "receive": 40, "exceptions": 10, "connect": 5},
			Latency: Latency{Count: 1000, Min: 100, Mean: 1500, P50: 1000, P90: 2000, P99: 3000},
			Notes:   []string{"900 of 1000 requests through ab left no connection that could be used again: latencies have connecting in them."},
		},
		"ab-none": {Took: 2 * time.Second},
	} {
		table, _ := os.ReadFile(filepath.Join("testdata", name+".csv"))
		r, err := parseAB(file(t, name+".txt"), table)
		if err != nil || !reflect.DeepEqual(r, want) {
			t.Errorf("%s: %+v, %v, want\n%+v", name, r, err, want)
		}
	}

	good, table := string(file(t, "ab-good.txt")), string(file(t, "ab-good.csv"))
	for name, c := range map[string]struct{ text, table string }{
		"nothing":           {"", table},
		"truncated":         {before(good, "Total transferred"), table},
		"no table":          {good, ""},
		"table of nonsense": {good, strings.Replace(table, "50,", "50,x", 1)},
		"table cut short":   {good, before(table, "99,")},
		"unordered":         {good, strings.Replace(table, "99,0.184", "99,0.001", 1)},
		"negative":          {strings.Replace(good, "53967", "-1", 1), table},
		"no number":         {strings.Replace(good, "53967", "NaN", 1), table},
		"more kept":         {strings.Replace(good, "Complete requests:      53967", "Complete requests:      5", 1), table},
	} {
		if r, err := parseAB([]byte(c.text), []byte(c.table)); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// sensible is what holds for all results.
func sensible(t *testing.T, r *Result) {
	t.Helper()
	for cause, n := range r.Errors {
		if n <= 0 {
			t.Errorf("%d errors %q", n, cause)
		}
	}
	for node, n := range r.Nodes {
		if n < 0 {
			t.Errorf("%d answers of %q", n, node)
		}
	}
	if r.Answered < 0 || r.Answered > r.Requests || r.Took < 0 || r.Bytes < 0 || r.Latency.Count < 0 || r.Latency.check() != nil {
		t.Errorf("%+v", r)
	}
}

func FuzzParseWrk(f *testing.F) {
	f.Add([]byte(`{"burst":1,"took_us":2,"requests":3,"bytes":4,"errors":{"timeout":1},"statuses":{"200":3},"nodes":{"a":3},"latency_us":{"max":1}}`))
	f.Add([]byte("Running\n{\"burst\":1,}"))
	f.Fuzz(func(t *testing.T, printed []byte) {
		r, err := parseWrk(printed)
		if err != nil {
			return
		}
		sensible(t, &r)
	})
}

func FuzzParseAB(f *testing.F) {
	for _, name := range []string{"ab-good", "ab-bad", "ab-none"} {
		table, _ := os.ReadFile(filepath.Join("testdata", name+".csv"))
		f.Add(file(f, name+".txt"), table)
	}
	f.Fuzz(func(t *testing.T, printed, table []byte) {
		r, err := parseAB(printed, table)
		if err != nil {
			return
		}
		sensible(t, &r)
	})
}

func TestLuaString(t *testing.T) {
	for s, want := range map[string]string{
		"": `""`, "a b": `"a b"`, `"\`: `"\034\092"`, "a\n\x00é": `"a\010\000\195\169"`,
	} {
		if got := luaString(s); got != want {
			t.Errorf("%q: %s", s, got)
		}
	}
}

// All connections are used: wrk leaves out what its threads cannot share evenly.
func TestWrkThreads(t *testing.T) {
	for _, c := range []struct{ connections, cores, want int }{{1, 8, 1}, {100, 8, 5}, {7, 2, 1}, {64, 8, 8}, {3, 8, 3}} {
		if got := wrkThreads(c.connections, c.cores); got != c.want || c.connections%got != 0 {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestFields(t *testing.T) {
	j := testJob()
	j.Header = append(j.Header, fields("x-a", "1", "X-A", "2", "host", "h", "content-length", "9", "ACCEPT", "text/plain")...)
	got := make(map[string]string)
	for _, f := range j.Fields() {
		got[f.Name] = f.Value
	}
	want := map[string]string{"X-A": "1, 2", "Accept": "text/plain", "Content-Type": "application/json"}
	if !maps.Equal(got, want) || j.Host() != "h" {
		t.Errorf("%v, host %s", got, j.Host())
	}
}
