package master

import (
	"bufio"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/worker"
)

var floodStrangers = flag.Int("flood.strangers", 5000, "connections that finish no handshake in TestUnfinishedHandshakes")

// Strangers that begin handshakes and finish none take neither the plain clients' service nor memory without
// a bound. They are ended by the time for a handshake, and clients of TLS are served again. No rate and no ban
// keeps them away here.
func TestUnfinishedHandshakes(t *testing.T) {
	dir := t.TempDir()
	pair := proxytest.WritePair(t, dir, "127.0.0.1")
	const workers = 2
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, proxytest.WithTLS(dir, func(s *proxy.Spec) {
		s.Workers = workers
		s.Timeouts.Request = 2 * time.Second
	})))
	b.eventuallyState("n0", proxy.NodeUp)
	plain, secure := b.address("http"), b.address("https")
	memory := b.anonymous()

	began := time.Now()
	strangers := openStrangers(t, secure, *floodStrangers)
	b.eventually("all to be accepted", func(s *proxy.Stats) bool { return s.Connections.Total >= uint64(*floodStrangers) })
	took := plainRequests(t, plain, 500)
	grown := b.anonymous() - memory
	s := b.stats()
	if most := uint64(workers * worker.MaxHandshakes); *floodStrangers > int(most) && s.Refused.WorkerFull+s.Refused.Handshake < uint64(*floodStrangers)-most {
		t.Errorf("%d handshakes are under way at once, want at most %d", uint64(*floodStrangers)-s.Refused.WorkerFull-s.Refused.Handshake, most)
	}
	if most := workers * worker.MaxHandshakes * (64 << 10) * raceFactor; grown > most {
		t.Errorf("memory has grown by %d MiB, want at most %d", grown>>20, most>>20)
	}
	for i, c := range strangers {
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("stranger %d is not ended: %v", i, err)
		}
	}
	ended := time.Since(began)
	resp, err := proxytest.SecureBrowser(t, pair).Get("https://" + secure + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	t.Logf("%d strangers: %d turned away, all ended after %v; memory of %d workers grew by %d MiB; %d plain requests meanwhile: median %v, longest %v",
		len(strangers), s.Refused.WorkerFull, ended.Round(time.Millisecond), workers, grown>>20, len(took), took[len(took)/2], took[len(took)-1])
}

// openStrangers opens connections, half of which say the beginning of a handshake.
func openStrangers(t *testing.T, address string, n int) []net.Conn {
	t.Helper()
	strangers := make([]net.Conn, n)
	var opening sync.WaitGroup
	for worker := range 8 {
		opening.Go(func() {
			for i := worker; i < n; i += 8 {
				from := &net.TCPAddr{IP: net.IPv4(127, 5, byte(i>>8), byte(i))}
				c, err := (&net.Dialer{LocalAddr: from, Timeout: 20 * time.Second}).Dial("tcp4", address)
				if err != nil {
					t.Errorf("stranger %d: %v", i, err)
					return
				}
				t.Cleanup(func() { c.Close() })
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				if i%2 == 0 {
					_, _ = io.WriteString(c, "\x16\x03\x01") // it may be turned away already
				}
				strangers[i] = c
			}
		})
	}
	opening.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return strangers
}

// plainRequests asks on a fresh connection each time, and returns how long it took, in order.
func plainRequests(t *testing.T, address string, n int) (took []time.Duration) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	for i := range n {
		began := time.Now()
		resp, err := client.Get(fmt.Sprintf("http://%s/%d", address, i))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "n0" {
			t.Fatalf("%q, %v", body, err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// Handshakes that a few sources leave half-open, each below its rate, are not in the way of newcomers: the oldest of
// whoever has most give way.
func TestHalfOpenHandshakesGiveWay(t *testing.T) {
	const strangers, each, newcomers = 14, 100, 114
	dir := t.TempDir()
	pair := proxytest.WritePair(t, dir, "127.0.0.1")
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, proxytest.WithTLS(dir, func(s *proxy.Spec) {
		s.Workers, s.MaxConnections = 1, 5000
		s.Limits.ConnectionsPerSecond = 100
	})))
	b.eventuallyState("n0", proxy.NodeUp)
	secure := b.address("https")
	before := b.residents()
	for range each {
		for i := range strangers {
			b.dialFrom(secure, fmt.Sprintf("127.0.8.%d", i+1)).Say("\x16\x03\x01")
		}
	}
	for i := range newcomers {
		c := tls.Client(b.dialFrom(secure, fmt.Sprintf("127.0.9.%d", i+1)).TCPConn, proxytest.Trusting(pair))
		_, _ = io.WriteString(c, proxytest.GetRequest)
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("newcomer %d: %q, %v", i, line, err)
		}
	}
	s := b.stats()
	if s.Refused.WorkerFull != 0 || s.Cut.GaveWay < strangers*each-worker.MaxHandshakes {
		t.Errorf("%d refused, %d gave way", s.Refused.WorkerFull, s.Cut.GaveWay)
	}
	b.wantSmall(before, 96<<20)
}
