package master

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// shown is the certificate that a new client is shown.
func (b *balancer) shown(config *tls.Config) *x509.Certificate {
	b.t.Helper()
	conn, err := tls.Dial("tcp", b.address("https"), config)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// servedTo is the subject of that certificate.
func (b *balancer) servedTo(config *tls.Config) string {
	b.t.Helper()
	return b.shown(config).Subject.CommonName
}

// A certificate is replaced under 200 WebSockets and a loop of requests, by itself and by a reload, and
// nobody notices.
func TestCertificateReplacedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	first := proxytest.WritePair(t, dir, "first.test")
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, proxytest.WithTLS(dir, func(s *proxy.Spec) {
		s.Workers = 2
		site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/mcp/ws" {
				proxytest.EchoWebSocket(w, r)
				return
			}
			fmt.Fprint(w, "hi")
		})
		s.Nodes[0].HTTP, _ = strconv.Atoi(site[strings.LastIndexByte(site, ':')+1:])
	})))
	second, third := writePairAside(t), writePairAside(t)
	pairs := []*proxytest.KeyPair{first, second, third}
	browser := proxytest.SecureBrowser(t, pairs...)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var sockets []*websocket.Conn
	for range 200 {
		sockets = append(sockets, proxytest.DialWebSocket(ctx, t, browser, b.address("https")))
	}
	var requests, failures atomic.Int64
	stop := make(chan struct{})
	var looping sync.WaitGroup
	address := b.address("https")
	looping.Go(func() {
		fresh := &http.Client{Transport: &http.Transport{TLSClientConfig: proxytest.Trusting(pairs...), DisableKeepAlives: true}}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			client := browser
			if i%4 == 0 {
				client = fresh
			}
			resp, err := client.Get("https://" + address + "/")
			if err != nil {
				t.Error(err)
				failures.Add(1)
				continue
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(body) != "hi" {
				t.Errorf("%q, %v", body, err)
				failures.Add(1)
			}
			requests.Add(1)
		}
	})
	if s := b.stats(); s.Certificate == nil || !strings.Contains(s.Certificate.Subject, "CN=first.test") || strings.Join(s.Certificate.Names, " ") != "first.test localhost" {
		t.Errorf("certificate in the statistics: %+v", s.Certificate)
	}
	// A half-written pair keeps the old one, and is told once.
	live, _ := filepath.EvalSymlinks(filepath.Join(dir, "live"))
	proxytest.Overwrite(t, filepath.Join(live, "lb.key"), second.Key)
	b.eventually("the complaint", func(*proxy.Stats) bool { return strings.Contains(b.log.String(), "cannot be served") })
	if got := b.servedTo(proxytest.Trusting(pairs...)); got != "first.test" {
		t.Errorf("with half a pair %s is served", got)
	}
	proxytest.Overwrite(t, filepath.Join(live, "lb.crt"), second.Cert)
	b.eventually("the second certificate", func(*proxy.Stats) bool { return b.servedTo(proxytest.Trusting(pairs...)) == "aside.test" })
	before := requests.Load()
	// Swapped as a whole, and reloaded before anybody looks.
	proxytest.PutPair(t, dir, third)
	b.reloaded(func(*proxy.Spec) {})
	b.eventually("requests under the third certificate", func(s *proxy.Stats) bool {
		return requests.Load() > before+10 && s.Certificate.NotAfter.Equal(leafOf(t, third).NotAfter)
	})
	close(stop)
	looping.Wait()
	for i, ws := range sockets {
		proxytest.PingWebSocket(ctx, t, ws, strconv.Itoa(i))
	}
	if n := strings.Count(b.log.String(), "cannot be served"); n != 1 || failures.Load() != 0 {
		t.Errorf("%d complaints, %d failures", n, failures.Load())
	}
	_, metrics := b.get("admin", "/metrics")
	if want := "erlmcp_lb_certificate_not_after_seconds "; !strings.Contains(metrics, want) {
		t.Errorf("/metrics lacks %s", want)
	}
	t.Logf("%d requests, %d sockets", requests.Load(), len(sockets))
}

func writePairAside(t testing.TB) *proxytest.KeyPair {
	t.Helper()
	return proxytest.WritePair(t, t.TempDir(), "aside.test")
}

func leafOf(t testing.TB, p *proxytest.KeyPair) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestCertificateThatCannotBeServed(t *testing.T) {
	dir := t.TempDir()
	good, other := proxytest.WritePair(t, dir, "a.test"), writePairAside(t)
	files := proxy.TLS{Cert: filepath.Join(dir, "live", "lb.crt"), Key: filepath.Join(dir, "live", "lb.key")}
	s := proxy.Spec{Listen: proxy.Listen{HTTPS: ":8443"}, TLS: files}
	if p, err := loadCertificate(&s); err != nil || p.exposed || p.leaf.Subject.CommonName != "a.test" {
		t.Fatalf("%+v, %v", p, err)
	}
	for name, change := range map[string]func(){
		"private key does not match": func() { proxytest.Overwrite(t, files.Key, other.Key) },
		"failed to find any PEM":     func() { proxytest.Overwrite(t, files.Key, good.Key[:20]) },
		"no such file":               func() { os.Remove(files.Cert) },
	} {
		proxytest.Overwrite(t, files.Cert, good.Cert)
		proxytest.Overwrite(t, files.Key, good.Key)
		change()
		if _, err := loadCertificate(&s); err == nil || !strings.Contains(err.Error(), name) || !strings.HasPrefix(err.Error(), "lb.tls") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A hangup has another pair of files put into force, which no look at the old ones would find.
func TestHangupReplacesTheCertificate(t *testing.T) {
	dir := t.TempDir()
	first := proxytest.WritePair(t, dir, "first.test")
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, proxytest.WithTLS(dir, nil)))
	hold, err := tls.Dial("tcp", b.address("https"), proxytest.Trusting(first))
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	other := t.TempDir()
	second := proxytest.WritePair(t, other, "second.test")
	b.edit(func(s *proxy.Spec) { proxytest.WithTLS(other, nil)(s) })
	b.signals <- syscall.SIGHUP
	b.eventually("the reload", func(s *proxy.Stats) bool { return s.Reload != nil && s.Reload.OK })
	if got := b.servedTo(proxytest.Trusting(second)); got != "second.test" {
		t.Errorf("%s is served", got)
	}
	if _, err := io.WriteString(hold, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(hold); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200 ") {
		t.Errorf("a connection from before: %q, %v", got, err)
	}
}

// expiredPair puts a certificate that has expired into dir.
func expiredPair(t testing.TB, dir string) {
	t.Helper()
	cert, key, err := proxy.SelfSigned([]string{"expired.test", "localhost"}, -1)
	if err != nil {
		t.Fatal(err)
	}
	proxytest.PutPair(t, dir, &proxytest.KeyPair{Cert: cert, Key: key})
}

// A certificate that clients would refuse does not replace one that they take, and is told once.
func TestExpiredCertificateReplacesNone(t *testing.T) {
	dir := t.TempDir()
	good := proxytest.WritePair(t, dir, "good.test")
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, proxytest.WithTLS(dir, nil)))
	expiredPair(t, dir)
	b.eventually("the complaint", func(*proxy.Stats) bool { return strings.Contains(b.log.String(), "it has expired") })
	if _, err := b.Reload(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "lb.tls: ") || !strings.Contains(err.Error(), "it has expired") {
		t.Errorf("reloaded with it: %v", err)
	}
	if got := b.servedTo(proxytest.Trusting(good)); got != "good.test" {
		t.Errorf("%s is served", got)
	}
	next := proxytest.WritePair(t, dir, "next.test")
	b.eventually("the next certificate", func(*proxy.Stats) bool { return b.servedTo(proxytest.Trusting(good, next)) == "next.test" })
	if n := strings.Count(b.log.String(), "cannot be served, the old one stays"); n != 1 {
		t.Errorf("%d complaints:\n%s", n, b.log)
	}
}

// Who has no other is served with it, and warned.
func TestExpiredCertificateAtTheStart(t *testing.T) {
	dir := t.TempDir()
	expiredPair(t, dir)
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, proxytest.WithTLS(dir, nil)))
	if got := b.servedTo(&tls.Config{InsecureSkipVerify: true}); got != "expired.test" { //nolint:gosec // none would take it
		t.Errorf("%s is served", got)
	}
	if !strings.Contains(b.log.String(), "the certificate has expired") {
		t.Errorf("no warning in\n%s", b.log)
	}
}

func TestMayReplace(t *testing.T) {
	now := time.Now()
	made := func(name string, from, to time.Duration) *certificate {
		return &certificate{cert: []byte(name), leaf: &x509.Certificate{NotBefore: now.Add(from), NotAfter: now.Add(to)}}
	}
	good, better := made("good", -time.Hour, time.Hour), made("better", -time.Hour, 2*time.Hour)
	expired, early := made("expired", -2*time.Hour, -time.Hour), made("early", time.Hour, 2*time.Hour)
	for _, test := range []struct {
		name     string
		old, new *certificate
		want     string
	}{
		{"the first", nil, good, ""},
		{"the first has expired", nil, expired, ""},
		{"none any more", good, nil, ""},
		{"another", good, better, ""},
		{"the same", good, good, ""},
		{"expired", good, expired, "lb.tls: lb.crt: it has expired"},
		{"too early", good, early, "lb.tls: lb.crt: it is not valid before"},
		{"expired for expired", expired, made("too", -3*time.Hour, -2*time.Hour), ""},
		{"early for expired", expired, early, ""},
		{"good for early", early, good, ""},
	} {
		err := test.new.mayReplace(test.old, proxy.TLS{Cert: "lb.crt"})
		if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// However a swap of the pair falls together with reading it, one pair is read.
func TestCertificateIsReadWhole(t *testing.T) {
	dir := t.TempDir()
	proxytest.WritePair(t, dir, "a.test")
	a, _ := filepath.EvalSymlinks(filepath.Join(dir, "live"))
	proxytest.WritePair(t, dir, "b.test")
	b, _ := filepath.EvalSymlinks(filepath.Join(dir, "live"))
	s := proxy.Default()
	proxytest.WithTLS(dir, nil)(&s)
	for i := range 1000 {
		swapped := make(chan error)
		go func() {
			next := filepath.Join(dir, "next")
			swapped <- errors.Join(os.Symlink([]string{a, b}[i%2], next), os.Rename(next, filepath.Join(dir, "live")))
		}()
		if _, err := loadCertificate(&s); err != nil {
			t.Errorf("swap %d: %v", i, err)
		}
		if err := <-swapped; err != nil {
			t.Fatal(err)
		}
	}
}

// Workers have the ticket keys of their master, also those of a reload, and another balancer with the same file of a
// key has others.
func TestTicketsAmongWorkers(t *testing.T) {
	dir := t.TempDir()
	pair := proxytest.WritePair(t, dir, "a.test")
	key := proxytest.WriteFile(t, "key", strings.Repeat("ab", 32)+"\n")
	start := func() *balancer {
		return serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, proxytest.WithTLS(dir, func(s *proxy.Spec) { s.Workers, s.Sticky.KeyFile = 2, key })))
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := proxytest.Trusting(pair)
		config.MaxVersion, config.ClientSessionCache = version, tls.NewLRUClientSessionCache(4)
		resumed := func(b *balancer) bool {
			conn, err := tls.Dial("tcp", b.address("https"), config)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			if _, err := io.ReadAll(conn); err != nil {
				t.Fatal(err)
			}
			return conn.ConnectionState().DidResume
		}
		first, second := start(), start()
		resumed(first)
		for i := range 20 { // 1 in 2^19 that all meet the same worker
			if i == 10 {
				first.reloaded(func(s *proxy.Spec) { s.Limits.MessagesPerSecond = 5 })
			}
			if !resumed(first) {
				t.Fatalf("version %x: connection %d is not resumed", version, i)
			}
		}
		if resumed(second) {
			t.Errorf("version %x: resumed at another balancer", version)
		}
	}
}
