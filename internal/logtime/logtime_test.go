package logtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

var (
	paris = time.FixedZone("", 3600)
	now   = time.Date(2026, 11, 27, 12, 30, 0, 0, paris)
)

func TestOf(t *testing.T) {
	const none = ""
	tests := []struct{ line, want string }{
		// Loggers of Go.
		{`{"level":"info","ts":1795750889.7,"msg":"zap"}`, "2026-11-27T04:41:29.7+01:00"},
		{`{"level":"info","ts":1.7957508897e9,"msg":"zap"}`, "2026-11-27T04:41:29.7+01:00"},
		{`{"level":"info","ts":"2026-11-27T11:00:00.123+0100","msg":"zap, iso8601"}`, "2026-11-27T11:00:00.123+01:00"},
		{"1.7957508897e+09\tinfo\tzap, console", "2026-11-27T04:41:29.7+01:00"},
		{"2026-11-27T11:00:00.123+0100\tINFO\tzap, development", "2026-11-27T11:00:00.123+01:00"},
		{`{"time":"2026-11-27T11:00:00.123456789+01:00","level":"INFO","msg":"slog"}`, "2026-11-27T11:00:00.123456789+01:00"},
		{`time=2026-11-27T11:00:00.123+01:00 level=INFO msg="slog, text"`, "2026-11-27T11:00:00.123+01:00"},
		{`time="2026-11-27T11:00:00Z" level=info msg=logrus`, "2026-11-27T12:00:00+01:00"},
		{`level=info msg="go kit = x" ts=2026-11-27T11:00:00Z`, "2026-11-27T12:00:00+01:00"},
		{`{"level":"info","time":1795750889,"message":"zerolog"}`, "2026-11-27T04:41:29+01:00"},
		{"2026/11/27 11:00:00 standard library", "2026-11-27T11:00:00+01:00"},
		{"2026/11/27 11:00:00.123456 main.go:1: standard library", "2026-11-27T11:00:00.123456+01:00"},
		{"I1127 11:00:00.123456   12345 file.go:1] klog", "2026-11-27T11:00:00.123456+01:00"},
		{"E1231 23:59:59.000000       1 file.go:1] klog of last year", "2025-12-31T23:59:59+01:00"},
		{"W20251231 23:59:59.000000 1 file.cc:1] glog", "2025-12-31T23:59:59+01:00"},
		// Node.
		{`{"level":30,"time":1795750889700,"pid":1,"msg":"pino"}`, "2026-11-27T04:41:29.7+01:00"},
		{`{"name":"x","hostname":"h","time":"2026-11-27T11:00:00.000Z","v":0}`, "2026-11-27T12:00:00+01:00"},
		{`{"message":"winston","timestamp":"2026-11-27 11:00:00"}`, "2026-11-27T11:00:00+01:00"},
		{"\x1b[2m[11:00:00.123] \x1b[32mINFO\x1b[39m (7): pino-pretty", "2026-11-27T11:00:00.123+01:00"},
		// Java.
		{"2026-11-27 11:00:00,123 INFO  [main] c.e.Log4j - text", "2026-11-27T11:00:00.123+01:00"},
		{"INFO  2026-11-27 11:00:00,123 [main] text", "2026-11-27T11:00:00.123+01:00"},
		{"[INFO] [2026-11-27T11:00:00,123] text", "2026-11-27T11:00:00.123+01:00"},
		{`{"instant":{"epochSecond":1795750889,"nanoOfSecond":700000000},"level":"INFO"}`, "2026-11-27T04:41:29.7+01:00"},
		{`{"timeMillis":1795750889700,"level":"INFO"}`, "2026-11-27T04:41:29.7+01:00"},
		{`{"@timestamp":"2026-11-27T11:00:00.000+01:00","message":"logstash"}`, "2026-11-27T11:00:00+01:00"},
		{"Nov 27, 2026 11:00:00 AM java.util.logging", "2026-11-27T11:00:00+01:00"},
		{"Nov 26, 2026 12:15:00 PM java.util.logging", "2026-11-26T12:15:00+01:00"},
		{"Nov 26, 2026 11:15:00 PM java.util.logging", "2026-11-26T23:15:00+01:00"},
		{"Nov 27, 2026 12:15:00 AM java.util.logging", "2026-11-27T00:15:00+01:00"},
		{"2026-11-27 11:00:00 -10 degrees", "2026-11-27T11:00:00+01:00"},
		// Python.
		{"2026-11-27 11:00:00,123 - root - INFO - text", "2026-11-27T11:00:00.123+01:00"},
		{"[2026-11-27 11:00:00 +0000] [7] [INFO] gunicorn", "2026-11-27T12:00:00+01:00"},
		{`{"asctime":"2026-11-27 11:00:00,123","levelname":"INFO"}`, "2026-11-27T11:00:00.123+01:00"},
		{"INFO:root:no time", none},
		{"INFO:     127.0.0.1:1234 - uvicorn", none},
		// Erlang and Elixir.
		{"2026-11-27T11:00:00.123456+01:00 info: logger", "2026-11-27T11:00:00.123456+01:00"},
		{"=INFO REPORT==== 27-Nov-2026::11:00:00.123456 ===", "2026-11-27T11:00:00.123456+01:00"},
		{"=PROGRESS REPORT==== 27-Nov-2026::11:00:00 ===", "2026-11-27T11:00:00+01:00"},
		{"2026-11-27 11:00:00.123 [info] <0.1.0> lager", "2026-11-27T11:00:00.123+01:00"},
		{"11:00:00.123 [info] Elixir", "2026-11-27T11:00:00.123+01:00"},
		{"23:00:00.123 [info] Elixir, yesterday", "2026-11-26T23:00:00.123+01:00"},
		// syslog, web servers and others.
		{"Nov 27 11:00:00 host prog[1]: text", "2026-11-27T11:00:00+01:00"},
		{"<34>Nov  7 11:00:00 host prog[1]: text", "2026-11-07T11:00:00+01:00"},
		{"<34>1 2026-11-27T11:00:00.003Z host prog 1 - - text", "2026-11-27T12:00:00.003+01:00"},
		{"Dec 31 23:59:59 host prog: of last year", "2025-12-31T23:59:59+01:00"},
		{"Fri Nov 27 11:00:00 2026 ctime", "2026-11-27T11:00:00+01:00"},
		{"Fri, 27 Nov 2026 11:00:00 +0000 RFC 5322", "2026-11-27T12:00:00+01:00"},
		{`192.0.2.1 - - [27/Nov/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 1`, "2026-11-27T12:00:00+01:00"},
		{"2026/11/27 11:00:00 [error] 1#1: nginx", "2026-11-27T11:00:00+01:00"},
		{`{"t":{"$date":"2026-11-27T11:00:00.000+00:00"},"s":"I","c":"mongod"}`, "2026-11-27T12:00:00+01:00"},
		{`{"timestamp":{"seconds":1795750889,"nanos":7},"severity":"INFO"}`, "2026-11-27T04:41:29.000000007+01:00"},
		{"1795750889.700    100 192.0.2.1 TCP_MISS/200 squid", "2026-11-27T04:41:29.7+01:00"},
		{"1795750889700000000 nanoseconds", "2026-11-27T04:41:29.7+01:00"},
		{`{"time":12,"ts":"2026-11-27T11:00:00Z"}`, "2026-11-27T12:00:00+01:00"},
		// No times.
		{"", none},
		{"tick", none},
		{"12", none},
		{"200 of 1795750889 bytes", none},
		{"1795750889 bytes were read", "2026-11-27T04:41:29+01:00"}, // cannot be told from a time
		{"17957508897777777777777777 what", none},
		{"backup of 2026-01-01 10:00:00 is done", none},
		{"2026-02-30 10:00:00 is no day", none},
		{"2026-11-27 without a time", none},
		{"10.0.0.1:8080 listens", none},
		{`{"time":12}`, none},
		{`{"time":true,"ts":null,"t":[]}`, none},
		{`{"msg":"time","nested":{"time":"2026-11-27T11:00:00Z"}}`, none},
		{`{"time":"2026-11-27T11:00:00Z"`, none},
		{"=", none},
		{"==== ", none},
	}
	for _, test := range tests {
		got := none
		if at, ok := Of([]byte(test.line), now); ok {
			got = at.In(paris).Format(time.RFC3339Nano)
		}
		if fuzzy := strings.Contains(test.line, ".7957508897") || strings.Contains(test.line, "889.7"); fuzzy && len(got) > 24 {
			at, _ := time.Parse(time.RFC3339Nano, got)
			got = at.Round(time.Millisecond).Format(time.RFC3339Nano)
		}
		if got != test.want {
			t.Errorf("%q:\n got %s\nwant %s", test.line, got, test.want)
		}
	}
}

func TestSlogAsItIs(t *testing.T) {
	for name, handler := range map[string]func(*strings.Builder) slog.Handler{
		"text": func(b *strings.Builder) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *strings.Builder) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b strings.Builder
		before := time.Now().Truncate(time.Millisecond)
		slog.New(handler(&b)).Info("a = b", "time", "12")
		if at, ok := Of([]byte(b.String()), time.Now()); !ok || at.Before(before) || at.After(time.Now()) {
			t.Errorf("%s: %s is of %v, %t", name, b.String(), at, ok)
		}
	}
}

func TestSince(t *testing.T) {
	tests := []struct{ text, want string }{
		{"5m", "2026-11-27T12:25:00+01:00"},
		{"5m ago", "2026-11-27T12:25:00+01:00"},
		{"1h30m", "2026-11-27T11:00:00+01:00"},
		{"1h 30min ago", "2026-11-27T11:00:00+01:00"},
		{"-90s", "2026-11-27T12:28:30+01:00"},
		{"1.5h", "2026-11-27T11:00:00+01:00"},
		{"250ms", "2026-11-27T12:29:59.75+01:00"},
		{"1d", "2026-11-26T12:30:00+01:00"},
		{"2 days ago", "2026-11-25T12:30:00+01:00"},
		{"1w", "2026-11-20T12:30:00+01:00"},
		{"1w2d", "2026-11-18T12:30:00+01:00"},
		{"0", "2026-11-27T12:30:00+01:00"},
		{"0s", "2026-11-27T12:30:00+01:00"},
		{"now", "2026-11-27T12:30:00+01:00"},
		{"today", "2026-11-27T00:00:00+01:00"},
		{"yesterday", "2026-11-26T00:00:00+01:00"},
		{"tomorrow", "2026-11-28T00:00:00+01:00"},
		{"+1h", "2026-11-27T13:30:00+01:00"},
		{"12:00", "2026-11-27T12:00:00+01:00"},
		{"9:05:07", "2026-11-27T09:05:07+01:00"},
		{"2026-01-31", "2026-01-31T00:00:00+01:00"},
		{"2026-01-31 12:00", "2026-01-31T12:00:00+01:00"},
		{"2026-01-31 12:00:05.5", "2026-01-31T12:00:05.5+01:00"},
		{"2026-01-31T12:00", "2026-01-31T12:00:00+01:00"},
		{"2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00"},
		{"2026-01-31 12:00 UTC", "2026-01-31T13:00:00+01:00"},
		{"2026-01-31T12:00:00+02:00", "2026-01-31T11:00:00+01:00"},
		{"@1795750889", "2026-11-27T04:41:29+01:00"},
		{"@1795750889.5", "2026-11-27T04:41:29.5+01:00"},
	}
	for _, test := range tests {
		at, err := Since(test.text, now)
		if got := at.In(paris).Format(time.RFC3339Nano); err != nil || got != test.want {
			t.Errorf("%q: got %s, %v, want %s", test.text, got, err, test.want)
		}
	}
	for _, text := range []string{
		"", "5", "m", "5x", "1h 5", "ago", "-", "24:00", "12:60", "2026-13-01", "2026-02-30", "2026-01-31 25:00", "2026-01-31x", "12:00 x", "@", "@x", "@nan",
		"999999999999y", "1e5h", "--5m", "noon",
	} {
		if at, err := Since(text, now); !errors.Is(err, ErrNoTime) {
			t.Errorf("%q is %v, %v", text, at, err)
		}
	}
}

// Whatever a line is, its time is one that can be told, and a time that is written is read back.
func FuzzOf(f *testing.F) {
	for _, line := range []string{
		"2026-11-27T11:00:00.123+0100\tINFO", `{"ts":1795750889.7}`, "=INFO REPORT==== 27-Nov-2026::11:00:00.1 ===", "I1127 11:00:00.1 1 f:1] x",
		"<34>Nov  7 11:00:00 host", "Fri Nov 27 11:00:00 2026", "level=info ts=1", `1.2.3.4 - - [27/Nov/2026:11:00:00 +0000] "`, "\x1b[2m[11:00:00.123]",
		`{"instant":{"epochSecond":1795750889,"nanoOfSecond":7}}`, "Feb 29 10:00:00 x",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		at, ok := Of(line, now)
		if !ok {
			return
		}
		if year := at.Year(); year < -1 || year > 10000 {
			t.Fatalf("%q is of the year %d", line, year)
		}
		at = at.UTC()
		if at.Year() < 1000 || at.Year() > 9999 {
			return
		}
		text, _ := json.Marshal(map[string]any{"msg": string(line), "time": at})
		for _, again := range []string{string(text), at.Format(time.RFC3339Nano) + " " + string(line), fmt.Sprintf("time=%q x=y", at.Format(time.RFC3339Nano))} {
			if got, ok := Of([]byte(again), now); !ok || !got.Equal(at) {
				t.Errorf("%q is of %v, %t, and not of %v", again, got, ok, at)
			}
		}
	})
}

func FuzzSince(f *testing.F) {
	for _, text := range []string{"5m", "1h 30min ago", "2026-01-31 12:00", "@1795750889", "yesterday", "-1w"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := Since(text, now)
		if err != nil {
			return
		}
		if again, err := Since(at.UTC().Format("2006-01-02T15:04:05.999999999Z07:00"), now); at.Year() >= 1000 && at.Year() <= 9998 && (err != nil || !again.Equal(at)) {
			t.Errorf("%q is %v, which is read back as %v, %v", text, at, again, err)
		}
	})
}
