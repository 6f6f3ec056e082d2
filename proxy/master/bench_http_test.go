package master

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// BenchmarkHTTP has wrk ask four plain HTTP nodes through this balancer, HAProxy, nginx (where they
// are installed) and net/http/httputil.ReverseProxy, over kept connections. The engines run side by
// side in fresh processes each round and are loaded in turn, one at a time; each has as many event
// loops as there are cores.
//
//	go test ./proxy/master -run '^$' -bench 'HTTP$' -benchtime 5x
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
//	go test ./proxy/master -run '^$' -bench ShortLived -benchtime 5x
func BenchmarkShortLived(b *testing.B) { benchHTTP(b, nil, shortLived(b)) }

// BenchmarkHandshake is BenchmarkShortLived over TLS: each connection shakes hands anew.
//
//	go test ./proxy/master -run '^$' -bench Handshake -benchtime 5x
func BenchmarkHandshake(b *testing.B) { benchHTTP(b, benchCertificate(b), shortLived(b)) }

// shortLived is the load of clients that come for one request each.
func shortLived(t testing.TB) []httpLoad {
	once := proxytest.WriteFile(t, "once.lua", `wrk.headers["Connection"] = "close"`+"\n")
	return []httpLoad{{"once-64", 64, once}}
}

// BenchmarkHTTPS is BenchmarkHTTP over TLS, from the client to the balancer. wrk keeps its connections:
// handshakes play no part.
//
//	go test ./proxy/master -run '^$' -bench HTTPS -benchtime 5x
func BenchmarkHTTPS(b *testing.B) { benchHTTP(b, benchCertificate(b), httpLoads(b)) }

// benchCertificate makes one.
func benchCertificate(b *testing.B) *proxy.TLS {
	cert, key, err := proxy.SelfSigned([]string{"127.0.0.1"}, 1)
	if err != nil {
		b.Fatal(err)
	}
	pair := proxytest.WriteFile(b, "pair.pem", string(cert)+string(key)) // HAProxy wants both in one file, the others do not mind
	return &proxy.TLS{Cert: pair, Key: pair}
}

// benchHTTP compares the engines, over TLS unless that is nil.
func benchHTTP(b *testing.B, secure *proxy.TLS, loads []httpLoad) {
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
	sites := proxytest.StartSites(b)
	engines := []*proxytest.Engine{balancerEngine(b, sites, secure)}
	for _, find := range []func(testing.TB, []proxytest.Site, *proxy.TLS) *proxytest.Engine{proxytest.HAProxyHTTPEngine, proxytest.NginxHTTPEngine, reverseProxyEngine} {
		if e := find(b, sites, secure); e.Command != nil {
			engines = append(engines, e)
		}
	}
	figures := make(map[string]*httpFigures) // by load and engine
	for b.Loop() {
		for _, e := range engines {
			e.Start(b)
			e.Reach(b, sites)
		}
		for _, l := range loads {
			for _, e := range engines {
				key := l.name + " " + e.Name
				if figures[key] == nil {
					figures[key] = new(httpFigures)
				}
				figures[key].measure(b, e, wrk, l, seconds)
			}
		}
		for _, e := range engines {
			e.Stop()
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nload\tengine\trequests/s\tCPU/request\tp50\tp99")
	for _, l := range loads {
		for _, e := range engines {
			f := figures[l.name+" "+e.Name]
			cpu := proxytest.Median(f.cpus) * 1e6
			fmt.Fprintf(table, "%s\t%s\t%.0f\t%.2f µs\t%.2f ms\t%.2f ms\n",
				l.name, e.Name, proxytest.Median(f.rates), cpu, proxytest.Median(f.p50s)*1e3, proxytest.Median(f.p99s)*1e3)
			b.ReportMetric(cpu, l.name+"-"+e.Name+"-µs/req")
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
	post := proxytest.WriteFile(t, "post.lua", `wrk.method = "POST"
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
func (f *httpFigures) measure(t testing.TB, e *proxytest.Engine, wrk string, l httpLoad, seconds int) {
	run := func(seconds int) proxytest.WrkReport {
		args := []string{"-t", "2", "-c", strconv.Itoa(l.connections), "-d", strconv.Itoa(seconds), "--timeout", "10", "--latency"}
		if l.script != "" {
			args = append(args, "-s", l.script)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds+20)*time.Second)
		defer cancel()
		output, err := exec.CommandContext(ctx, wrk, append(args, e.URL())...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s, %s: wrk: %v\n%s", e.Name, l.name, err, output)
		}
		r, err := proxytest.ReadWrk(string(output))
		if err != nil {
			t.Fatalf("%s, %s: %v\n%s", e.Name, l.name, err, output)
		}
		return r
	}
	if !testing.Short() {
		run(1) // connections to nodes are made, and known to stay
	}
	before := e.CPU(t)
	r := run(seconds)
	used := e.CPU(t) - before
	f.rates = append(f.rates, r.Rate)
	f.cpus = append(f.cpus, used.Seconds()/float64(r.Requests))
	f.p50s = append(f.p50s, r.P50.Seconds())
	f.p99s = append(f.p99s, r.P99.Seconds())
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
	want := proxytest.WrkReport{Requests: 32830, Rate: 32801.75, P50: 635 * time.Microsecond, P99: 1050 * time.Millisecond}
	for _, test := range []struct {
		name, output, err string
		want              proxytest.WrkReport
	}{
		{"good", report + rate, "", want},
		{"refused", report + "  Non-2xx or 3xx responses: 7\n" + rate, "not every request was answered: Non-2xx or 3xx responses: 7", proxytest.WrkReport{}},
		{"broken", report + "  Socket errors: connect 0, read 3, write 0, timeout 0\n" + rate, "not every request was answered: Socket errors: connect 0, read 3, write 0, timeout 0", proxytest.WrkReport{}},
		{"idle", strings.Replace(report, "32830 requests", "0 requests", 1) + rate, "no request was answered", proxytest.WrkReport{}},
		{"cut", report, "wrk reports no rate", proxytest.WrkReport{}},
		{"empty", "", "wrk reports no requests", proxytest.WrkReport{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := proxytest.ReadWrk(test.output)
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
