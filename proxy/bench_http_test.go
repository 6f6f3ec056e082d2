package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// BenchmarkHTTP has wrk ask four plain HTTP nodes through this balancer, HAProxy, nginx (where they
// are installed) and net/http/httputil.ReverseProxy, over kept connections. The engines run side by
// side in fresh processes each round and are loaded in turn, one at a time; each has as many event
// loops as there are cores.
//
//	go test ./proxy -run '^$' -bench 'HTTP$' -benchtime 5x
//
// A round takes about 40 seconds; with -short it is a smoke test of some seconds. It prints the
// medians of requests/s, CPU of the balancer's processes a request, and latencies. A response that
// is an error fails it.
//
// All add X-Forwarded-For, all but ReverseProxy track the rate by source, and this balancer and
// HAProxy set a cookie with each answer, since wrk never shows one. The nodes are one process, wrk
// another. Nothing is pinned: they share all cores with the balancer, which makes CPU the figure to
// compare.
func BenchmarkHTTP(b *testing.B) { benchHTTP(b, nil, httpLoads(b)) }

// BenchmarkShortLived is BenchmarkHTTP with a connection for each request.
//
//	go test ./proxy -run '^$' -bench ShortLived -benchtime 5x
func BenchmarkShortLived(b *testing.B) { benchHTTP(b, nil, shortLived(b)) }

// BenchmarkHandshake is BenchmarkShortLived over TLS: each connection shakes hands anew.
//
//	go test ./proxy -run '^$' -bench Handshake -benchtime 5x
func BenchmarkHandshake(b *testing.B) { benchHTTP(b, benchCertificate(b), shortLived(b)) }

// shortLived is the load of clients that come for one request each.
func shortLived(t testing.TB) []httpLoad {
	once := write(t, "once.lua", `wrk.headers["Connection"] = "close"`+"\n")
	return []httpLoad{{"once-64", 64, once}}
}

// BenchmarkHTTPS is BenchmarkHTTP over TLS, from the client to the balancer. wrk keeps its connections:
// handshakes play no part.
//
//	go test ./proxy -run '^$' -bench HTTPS -benchtime 5x
func BenchmarkHTTPS(b *testing.B) { benchHTTP(b, benchCertificate(b), httpLoads(b)) }

// benchCertificate makes one.
func benchCertificate(b *testing.B) *TLS {
	cert, key, err := SelfSigned([]string{"127.0.0.1"}, 1)
	if err != nil {
		b.Fatal(err)
	}
	pair := write(b, "pair.pem", string(cert)+string(key)) // HAProxy wants both in one file, the others do not mind
	return &TLS{Cert: pair, Key: pair}
}

// benchHTTP compares the engines, over TLS unless that is nil.
func benchHTTP(b *testing.B, secure *TLS, loads []httpLoad) {
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		b.Skip("wrk is not installed")
	}
	seconds := 2
	if testing.Short() {
		seconds = 1
		if len(loads) > 2 {
			loads = []httpLoad{loads[0], loads[3]}
		}
	}
	sites := startSites(b)
	engines := []*engine{balancerEngine(b, sites, secure)}
	for _, find := range []func(testing.TB, []site, *TLS) *engine{haproxyHTTPEngine, nginxHTTPEngine, reverseProxyEngine} {
		if e := find(b, sites, secure); e != nil {
			engines = append(engines, e)
		}
	}
	figures := make(map[string]*httpFigures) // by load and engine
	for b.Loop() {
		for _, e := range engines {
			e.start(b)
			e.reach(b, sites)
		}
		for _, l := range loads {
			for _, e := range engines {
				key := l.name + " " + e.name
				if figures[key] == nil {
					figures[key] = new(httpFigures)
				}
				figures[key].measure(b, e, wrk, l, seconds)
			}
		}
		for _, e := range engines {
			e.stop()
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nload\tengine\trequests/s\tCPU/request\tp50\tp99")
	for _, l := range loads {
		for _, e := range engines {
			f := figures[l.name+" "+e.name]
			cpu := median(f.cpus) * 1e6
			fmt.Fprintf(table, "%s\t%s\t%.0f\t%.2f µs\t%.2f ms\t%.2f ms\n",
				l.name, e.name, median(f.rates), cpu, median(f.p50s)*1e3, median(f.p99s)*1e3)
			b.ReportMetric(cpu, l.name+"-"+e.name+"-µs/req")
		}
	}
	if err := table.Flush(); err != nil {
		b.Error(err)
	}
	b.ReportMetric(0, "ns/op") // a round is all engines together: its time says nothing
}

// httpLoad is one way to ask.
type httpLoad struct {
	name        string
	connections int
	script      string // of wrk; "" asks with GET
}

func httpLoads(t testing.TB) []httpLoad {
	post := write(t, "post.lua", `wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}'
`)
	return []httpLoad{{"GET-64", 64, ""}, {"GET-512", 512, ""}, {"POST-64", 64, post}, {"POST-512", 512, post}}
}

// httpFigures are those of one engine under one load, one a round.
type httpFigures struct {
	rates, cpus, p50s, p99s []float64 // requests/s, then seconds
}

// measure loads the engine once, after a second that does not count.
func (f *httpFigures) measure(t testing.TB, e *engine, wrk string, l httpLoad, seconds int) {
	run := func(seconds int) wrkReport {
		args := []string{"-t", "2", "-c", strconv.Itoa(l.connections), "-d", strconv.Itoa(seconds), "--timeout", "10", "--latency"}
		if l.script != "" {
			args = append(args, "-s", l.script)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds+20)*time.Second)
		defer cancel()
		output, err := exec.CommandContext(ctx, wrk, append(args, e.url())...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s, %s: wrk: %v\n%s", e.name, l.name, err, output)
		}
		r, err := readWrk(string(output))
		if err != nil {
			t.Fatalf("%s, %s: %v\n%s", e.name, l.name, err, output)
		}
		return r
	}
	if !testing.Short() {
		run(1) // connections to nodes are made, and known to stay
	}
	before := e.cpu(t)
	r := run(seconds)
	used := e.cpu(t) - before
	f.rates = append(f.rates, r.rate)
	f.cpus = append(f.cpus, used.Seconds()/float64(r.requests))
	f.p50s = append(f.p50s, r.p50.Seconds())
	f.p99s = append(f.p99s, r.p99.Seconds())
}

func (e *engine) url() string {
	scheme := "http"
	if e.secure {
		scheme = "https"
	}
	return scheme + "://" + e.address + "/mcp"
}

// reach waits until every site has answered through the engine, with a cookie if it sets them.
func (e *engine) reach(t testing.TB, sites []site) {
	// #nosec G402 -- HAProxy, nginx and we are given a certificate made a moment ago.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	reached, last := map[string]bool{}, ""
	for deadline := time.Now().Add(10 * time.Second); len(reached) < len(sites); {
		if time.Now().After(deadline) {
			t.Fatalf("%s reaches only %d of %d nodes; at last: %s", e.name, len(reached), len(sites), last)
		}
		resp, err := client.Get(e.url())
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if last = resp.Status; err == nil && resp.StatusCode == http.StatusOK {
			if sets := len(resp.Cookies()) > 0; sets != e.cookies {
				t.Fatalf("%s sets a cookie: %v, want %v", e.name, sets, e.cookies)
			}
			reached[string(body)] = true
		}
	}
}

// wrkReport is what wrk prints.
type wrkReport struct {
	requests int
	rate     float64 // requests/s
	p50, p99 time.Duration
}

var (
	wrkFaults   = regexp.MustCompile(`(?m)^ *(Socket errors|Non-2xx or 3xx responses): .*$`)
	wrkRequests = regexp.MustCompile(`(?m)^ *(\d+) requests in `)
	wrkRate     = regexp.MustCompile(`(?m)^Requests/sec: +([0-9.]+)$`)
	wrkP50      = regexp.MustCompile(`(?m)^ *50% +(\S+) *$`)
	wrkP99      = regexp.MustCompile(`(?m)^ *99% +(\S+) *$`)
)

// readWrk reads the report of a run in which nothing went wrong.
func readWrk(output string) (r wrkReport, err error) {
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
	field("requests", wrkRequests, func(s string) (e error) { r.requests, e = strconv.Atoi(s); return e })
	field("rate", wrkRate, func(s string) (e error) { r.rate, e = strconv.ParseFloat(s, 64); return e })
	field("p50", wrkP50, func(s string) (e error) { r.p50, e = time.ParseDuration(s); return e })
	field("p99", wrkP99, func(s string) (e error) { r.p99, e = time.ParseDuration(s); return e })
	if err == nil && r.requests == 0 {
		err = fmt.Errorf("no request was answered")
	}
	return r, err
}

func TestReadWrk(t *testing.T) {
	const report = `Running 1s test @ http://127.0.0.1:8080/mcp
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.99ms    1.00ms  20.44ms   75.00%
    Req/Sec    16.49k     1.40k   19.11k    70.00%
  Latency Distribution
     50%  635.00us
     75%    2.50ms
     90%    3.20ms
     99%    1.05s
  32830 requests in 1.00s, 4.66MB read
`
	const rate = "Requests/sec:  32801.75\nTransfer/sec:      4.66MB\n"
	want := wrkReport{requests: 32830, rate: 32801.75, p50: 635 * time.Microsecond, p99: 1050 * time.Millisecond}
	for _, test := range []struct {
		name, output, err string
		want              wrkReport
	}{
		{"good", report + rate, "", want},
		{"refused", report + "  Non-2xx or 3xx responses: 7\n" + rate, "not every request was answered: Non-2xx or 3xx responses: 7", wrkReport{}},
		{"broken", report + "  Socket errors: connect 0, read 3, write 0, timeout 0\n" + rate, "not every request was answered: Socket errors: connect 0, read 3, write 0, timeout 0", wrkReport{}},
		{"idle", strings.Replace(report, "32830 requests", "0 requests", 1) + rate, "no request was answered", wrkReport{}},
		{"cut", report, "wrk reports no rate", wrkReport{}},
		{"empty", "", "wrk reports no requests", wrkReport{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := readWrk(test.output)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("error %v, want %s", err, test.err)
				}
			} else if err != nil || got != test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}
