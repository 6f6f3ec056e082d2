package burst_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/burst"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

// server counts what it is asked.
type server struct {
	*httptest.Server
	asked   atomic.Int64
	refused atomic.Int64

	mu      sync.Mutex
	numbers map[string]int
	wrong   []string // requests that were not as they should be
}

const (
	ping   = `{"jsonrpc":"2.0","id":NUMBER,"method":"ping"}`
	secret = "Bearer s3cr3t \"quoted\" \\ [[x]]"
)

// serve starts a server that refuses one request in every refuse, 0 being none, and has two nodes.
func serve(t *testing.T, secure bool, refuse int64) *server {
	t.Helper()
	s := &server{numbers: make(map[string]int)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		s.look(r, body)
		if refuse > 0 && n%refuse == 0 {
			s.refused.Add(1)
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("X-Served-By", []string{"erlmcp1", "erlmcp2"}[n%2])
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *server) look(r *http.Request, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	number, ok := bytes.CutPrefix(body, []byte(`{"jsonrpc":"2.0","id":`))
	number, _, ok2 := bytes.Cut(number, []byte(`,"method":"ping"}`))
	s.numbers[string(number)]++
	if !ok || !ok2 || r.Method != http.MethodPost || r.URL.RequestURI() != "/mcp?a=b" || r.Host != "mcp.example:8080" ||
		r.Header.Get("Accept") != "application/json, text/event-stream" || r.Header.Get("Content-Type") != "application/json" {
		if len(s.wrong) < 5 {
			s.wrong = append(s.wrong, r.Method+" "+r.URL.RequestURI()+" "+r.Host+" "+string(body)+" "+strings.Join(r.Header["Accept"], "|"))
		}
	}
}

func (s *server) job(connections int, d time.Duration) burst.Job {
	a := netip.MustParseAddrPort(s.Listener.Addr().String())
	return burst.Job{
		Endpoint: target.Endpoint{
			Target:  target.Target{Transport: target.HTTP, Host: "mcp.example", Port: 8080, Path: "/mcp?a=b"},
			Address: a,
		},
		Body: []byte(strings.Replace(ping, "NUMBER", "7", 1)), Connections: connections, Duration: d, Timeout: 5 * time.Second,
	}
}

func driver(t *testing.T, name string) burst.Driver {
	t.Helper()
	for _, d := range burst.Drivers() {
		if d.Name() != name {
			continue
		}
		var missing *burst.MissingError
		if _, err := d.Find(t.Context()); errors.As(err, &missing) {
			t.Skip(err, missing.Hint())
		} else if err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Fatalf("no driver %s", name)
	return nil
}

func errorsOf(r *burst.Result) (sum int64) {
	for _, n := range r.Errors {
		sum += n
	}
	return sum
}

// What a driver counts is what the server has counted, but for requests that were under way at the end.
func TestDriversCountAsTheServerDoes(t *testing.T) {
	for _, name := range []string{"wrk", "ab", "hey"} {
		t.Run(name, func(t *testing.T) {
			d := driver(t, name)
			s := serve(t, false, 10)
			const connections = 6
			j := s.job(connections, time.Second)
			r, err := d.Run(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			asked, refused := s.asked.Load(), s.refused.Load()
			under := int64(connections)
			if name == "hey" {
				under = 0
			}
			if r.Requests == 0 || r.Requests > asked || asked-r.Requests > under {
				t.Errorf("%d requests, the server has seen %d", r.Requests, asked)
			}
			busy := r.Errors["503"] + r.Errors["non-2xx"]
			if busy == 0 || busy > refused || refused-busy > under || errorsOf(&r) != busy {
				t.Errorf("errors %v, the server has refused %d", r.Errors, refused)
			}
			if r.Answered+errorsOf(&r) != r.Requests {
				t.Errorf("%d answered and %v of %d", r.Answered, r.Errors, r.Requests)
			}
			l := &r.Latency
			if l.P50 <= 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.Max || l.Min > l.P50 || l.Mean <= 0 || l.Count == 0 {
				t.Errorf("latency %+v", l)
			}
			if d.Tells().Knows(burst.Tail) != (l.P999 > 0) {
				t.Errorf("the tail is %d", l.P999)
			}
			if d.Tells().Knows(burst.Nodes) {
				if sum := r.Nodes["erlmcp1"] + r.Nodes["erlmcp2"]; len(r.Nodes) != 2 || sum != r.Answered {
					t.Errorf("nodes %v, answered %d", r.Nodes, r.Answered)
				}
			} else if r.Nodes != nil {
				t.Errorf("nodes %v", r.Nodes)
			}
			if r.Took < 900*time.Millisecond || r.Took > time.Minute || r.Process.CPU <= 0 || r.Process.RSSBytes < 1<<20 || r.Bytes == 0 {
				t.Errorf("took %s, process %+v, %d bytes", r.Took, r.Process, r.Bytes)
			}
			if len(s.wrong) > 0 {
				t.Errorf("requests %q", s.wrong)
			}
			if len(d.Tells().Notes) < 3 || d.Tells().Sources != 1 {
				t.Errorf("tells %+v", d.Tells())
			}
		})
	}
}

// Where requests are to have numbers, no two have the same, and secrets arrive as they are.
func TestNumbersAndSecrets(t *testing.T) {
	for _, name := range []string{"wrk", "hey"} {
		t.Run(name, func(t *testing.T) {
			d := driver(t, name)
			s := serve(t, false, 0)
			var authorized atomic.Int64
			inner := s.Config.Handler
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") == secret {
					authorized.Add(1)
				}
				inner.ServeHTTP(w, r)
			})
			j := s.job(4, time.Second)
			j.Body, j.Number = []byte(ping), "NUMBER"
			j.Endpoint.Header = []target.Field{{Name: "authorization", Value: secret}, {Name: "Host", Value: "mcp.example:8080"}}
			r, err := d.Run(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			for number, n := range s.numbers {
				if n != 1 || len(number) != 16 {
					t.Fatalf("number %s, %d times", number, n)
				}
			}
			if n := s.asked.Load(); r.Answered == 0 || authorized.Load() != n || int64(len(s.numbers)) != n || len(s.wrong) > 0 {
				t.Errorf("%d answered, %d of %d authorized, %d numbers, wrong %q", r.Answered, authorized.Load(), n, len(s.numbers), s.wrong)
			}
		})
	}
}

func TestDriversOverTLS(t *testing.T) {
	for _, name := range []string{"wrk", "ab", "hey"} {
		t.Run(name, func(t *testing.T) {
			d := driver(t, name)
			s := serve(t, true, 0)
			j := s.job(2, time.Second)
			j.Endpoint.Secure, j.Endpoint.TLS.ServerName = true, "localhost"
			if err := d.Fits(&j); err == nil || !strings.Contains(err.Error(), "does not check certificates") {
				t.Fatalf("without leave to trust anybody: %v", err)
			}
			j.Endpoint.TLS.Insecure = true
			r, err := d.Run(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			if r.Answered == 0 || len(r.Errors) > 0 || len(s.wrong) > 0 {
				t.Errorf("%d answered, errors %v, wrong %q", r.Answered, r.Errors, s.wrong)
			}
		})
	}
}

func TestDriversOverIPv6(t *testing.T) {
	for _, name := range []string{"wrk", "ab", "hey"} {
		t.Run(name, func(t *testing.T) {
			d := driver(t, name)
			l, err := net.Listen("tcp", "[::1]:0")
			if err != nil {
				t.Skip("no IPv6 here: ", err)
			}
			s := serve(t, false, 0)
			also := &httptest.Server{Listener: l, Config: &http.Server{Handler: s.Config.Handler}}
			also.Start()
			defer also.Close()
			j := s.job(2, time.Second)
			j.Endpoint.Address = netip.MustParseAddrPort(l.Addr().String())
			r, err := d.Run(t.Context(), j)
			if err != nil || r.Answered == 0 || len(r.Errors) > 0 || len(s.wrong) > 0 {
				t.Errorf("%+v, %v, wrong %q", r, err, s.wrong)
			}
		})
	}
}

// A server that takes a known time is measured to take it.
func TestDriversMeasureADelay(t *testing.T) {
	const delay = 50 * time.Millisecond
	for _, name := range []string{"wrk", "ab", "hey"} {
		t.Run(name, func(t *testing.T) {
			d := driver(t, name)
			s := serve(t, false, 0)
			inner := s.Config.Handler
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(delay)
				inner.ServeHTTP(w, r)
			})
			r, err := d.Run(t.Context(), s.job(4, time.Second))
			if err != nil {
				t.Fatal(err)
			}
			// A busy machine makes it longer, nothing makes it shorter.
			if us := delay.Microseconds(); r.Latency.Min < us || r.Latency.P50 < us || r.Latency.Mean < float64(us) {
				t.Errorf("%+v", r.Latency)
			}
		})
	}
}

// Where nobody listens, the driver says so or counts nothing but failures.
func TestNobodyListens(t *testing.T) {
	for _, name := range []string{"wrk", "ab", "hey"} {
		t.Run(name, func(t *testing.T) {
			d := driver(t, name)
			s := serve(t, false, 0)
			j := s.job(2, time.Second)
			s.Close()
			r, err := d.Run(t.Context(), j)
			switch {
			case err != nil && !strings.Contains(err.Error(), name+" failed: "):
				t.Error(err)
			case err == nil && (r.Answered != 0 || errorsOf(&r) == 0):
				t.Errorf("%+v", r)
			}
			if name == "hey" && (err != nil || r.Errors["refused"] != r.Requests) {
				t.Errorf("%v, %v", r.Errors, err)
			}
		})
	}
}

// A server that never answers does not hold a driver.
func TestSilentServer(t *testing.T) {
	for _, name := range []string{"wrk", "ab", "hey"} {
		t.Run(name, func(t *testing.T) {
			d := driver(t, name)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s := serve(t, false, 0)
			j := s.job(2, time.Second)
			j.Timeout = time.Second
			j.Endpoint.Address = netip.MustParseAddrPort(l.Addr().String())
			r, err := d.Run(t.Context(), j)
			if name == "ab" {
				if err == nil || !strings.Contains(err.Error(), "timeout specified has expired") {
					t.Errorf("%+v, %v", r, err)
				}
				return
			}
			if err != nil || r.Answered != 0 || r.Latency.Count != 0 {
				t.Errorf("%+v, %v", r, err)
			}
			if name == "hey" && r.Errors["timeout"] == 0 {
				t.Errorf("%v", r.Errors)
			}
		})
	}
}

// An answer that comes after its time-out is none, whether the driver waits for it or not.
func TestLateAnswers(t *testing.T) {
	for _, name := range []string{"wrk", "hey"} {
		t.Run(name, func(t *testing.T) {
			d := driver(t, name)
			s := serve(t, false, 0)
			inner := s.Config.Handler
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(1200 * time.Millisecond)
				inner.ServeHTTP(w, r)
			})
			j := s.job(2, 3*time.Second)
			j.Timeout = time.Second
			r, err := d.Run(t.Context(), j)
			if err != nil || r.Answered != 0 || r.Requests == 0 || r.Errors["timeout"] != r.Requests || r.Latency.Count != 0 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// The end of the context ends the program, and leaves no file.
func TestInterrupted(t *testing.T) {
	stop := errors.New("enough")
	for _, name := range []string{"wrk", "ab", "hey"} {
		t.Run(name, func(t *testing.T) {
			d := driver(t, name)
			s := serve(t, false, 0)
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir)
			ctx, cancel := context.WithCancelCause(t.Context())
			inner := s.Config.Handler
			var mode os.FileMode
			var once sync.Once
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				inner.ServeHTTP(w, r)
				once.Do(func() {
					files, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
					for _, f := range files {
						if info, err := os.Stat(f); err == nil && filepath.Base(f) != "percentiles.csv" {
							mode = info.Mode()
						}
					}
					cancel(stop)
				})
			})
			_, err := d.Run(ctx, s.job(2, time.Hour))
			if !errors.Is(err, stop) {
				t.Errorf("error %v", err)
			}
			left, _ := os.ReadDir(dir)
			if len(left) > 0 || name != "hey" && mode != 0o600 {
				t.Errorf("%d files are left, mode %s", len(left), mode)
			}
		})
	}
}

func TestAuto(t *testing.T) {
	s := serve(t, false, 0)
	j := s.job(2, time.Second)
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	want := func(name string) {
		t.Helper()
		d, p, err := burst.Auto(t.Context(), &j)
		if err != nil || d.Name() != name || p.Path == "" || p.Version == "" {
			t.Errorf("%v %+v %v, want %s", d, p, err, name)
		}
	}
	want("hey")
	program(t, bin, "ab", `echo 'This is ApacheBench, Version 2.3 <$Revision: 1923142 $>'`)
	want("ab")
	j.Endpoint.Header = []target.Field{{Name: "Authorization", Value: secret}}
	want("hey")
	program(t, bin, "wrk", wrkVersion+"\nexit 1")
	want("wrk")
	j.Connections = 0
	if _, _, err := burst.Auto(t.Context(), &j); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("error %v", err)
	}
}
