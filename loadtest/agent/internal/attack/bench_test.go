package attack

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// serverVariable makes of the test's program the server of a benchmark.
const serverVariable = "ATTACK_BENCHMARK_SERVER"

// serveBenchmark serves until its input ends.
func serveBenchmark() {
	s := httptest.NewUnstartedServer(&script{reply: func(w http.ResponseWriter, _ *http.Request, id string, _ int64) {
		answerWith(w, nodeReply(id, "a"))
	}})
	if os.Getenv(serverVariable) == "plain" {
		s.Start()
	} else {
		s.EnableHTTP2 = true
		s.StartTLS()
	}
	fmt.Println(s.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func benchmarkServer(b *testing.B, kind string) *httptest.Server {
	b.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), serverVariable+"="+kind)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = c.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return &httptest.Server{URL: strings.TrimSpace(url)}
}

// BenchmarkHold says what a held connection takes of memory, and what a request takes of CPU.
func BenchmarkHold(b *testing.B) {
	for _, kind := range []string{"plain", "tls", "http2"} {
		b.Run(kind, func(b *testing.B) { benchmarkHold(b, kind) })
	}
}

func benchmarkHold(b *testing.B, kind string) {
	connections, rate := 5000, 2000.0
	if n, err := strconv.Atoi(os.Getenv("ATTACK_CONNECTIONS")); err == nil {
		connections = n
	}
	u := benchmarkServer(b, kind)
	at := netip.MustParseAddrPort(u.URL[strings.LastIndexByte(u.URL, '/')+1:])
	for range b.N {
		before := resident(b)
		a := Start(func() {})
		o := &wire.OpenOrder{
			Driver: wire.Vegeta, Endpoint: target.Endpoint{
				Target:  target.Target{Transport: target.HTTP, Secure: kind != "plain", Host: "127.0.0.1", Port: at.Port(), Path: "/mcp"},
				Address: at, TLS: target.TLS{Insecure: true}, HTTP2: kind == "http2",
			},
			Work: work.Work{Verify: ask.Whoami, Naming: work.ByAnswer}, Connections: connections, Sources: sources.In(netip.MustParsePrefix("127.78.0.0/16"), connections/100),
			Timeout: time.Minute, Patience: wire.LeastPatience,
		}
		fail := func(_ wire.Ack, err error) {
			if err != nil {
				b.Error(err)
			}
		}
		opened := cpu(b)
		a.Obey(&wire.Order{Kind: wire.OrderOpen, At: mono.Now(), Rate: 2000, Open: o}, fail)
		a.Obey(&wire.Order{Kind: wire.OrderRest, At: mono.Now()}, fail)
		waittest.For(b, time.Minute, "verified", func() (wire.Counts, bool) { n := a.Counts(); return n, n.Verified == connections })
		b.ReportMetric(float64(cpu(b)-opened)/float64(connections)/1e3, "µs-CPU/connect")
		b.ReportMetric(float64(resident(b)-before)/float64(connections)/1024, "KiB/held")
		began := cpu(b)
		a.Obey(&wire.Order{Kind: wire.OrderPing, At: mono.Now(), Rate: rate, Ping: &wire.PingOrder{For: 8 * time.Second, Record: true}}, fail)
		n := waittest.For(b, time.Minute, "answers", func() (wire.Counts, bool) {
			n := a.Counts()
			return n, n.Requests.Sent == int64(8*rate) && n.Requests.UnderWay() == 0
		})
		if n.Requests.Answered != n.Requests.Sent {
			b.Errorf("%+v", n)
		}
		b.ReportMetric(float64(cpu(b)-began)/float64(n.Requests.Sent)/1e3, "µs-CPU/request")
		b.ReportMetric(float64(resident(b)-before)/float64(connections)/1024, "KiB/driven")
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.StackInuse)/float64(connections)/1024, "KiB-stack")
		b.ReportMetric(float64(m.HeapInuse)/float64(connections)/1024, "KiB-heap")
		a.Stop()
	}
}

// resident is the memory of this process, in bytes, once garbage is gone.
func resident(b *testing.B) int64 {
	b.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc: ", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// cpu is what this process has used, in nanoseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
