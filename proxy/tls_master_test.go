package proxy

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
)

// writePair puts a fresh certificate into dir as a link to a directory of its own, at once, as
// Kubernetes and certbot do.
func writePair(t testing.TB, dir, host string) *keyPair {
	t.Helper()
	cert, key, err := SelfSigned([]string{host, "localhost"}, 30)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(dir, "pair")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "next")
	for _, err := range []error{
		os.WriteFile(filepath.Join(fresh, "lb.crt"), cert, 0o644), os.WriteFile(filepath.Join(fresh, "lb.key"), key, 0o600),
		os.Symlink(fresh, link), os.Rename(link, filepath.Join(dir, "live")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return &keyPair{cert: cert, key: key}
}

// withTLS has https listened on, with the pair in dir.
func withTLS(dir string, change func(*Spec)) func(*Spec) {
	return func(s *Spec) {
		s.Listen.HTTPS = "127.0.0.1:0"
		s.TLS = TLS{Cert: filepath.Join(dir, "live", "lb.crt"), Key: filepath.Join(dir, "live", "lb.key")}
		s.Limits.MessagesPerSecond = 0
		if change != nil {
			change(s)
		}
	}
}

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
	first := writePair(t, dir, "first.test")
	b := serve(t, startNodes(t, 1), withSites(t, withTLS(dir, func(s *Spec) {
		s.Workers = 2
		site := startSite(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/mcp/ws" {
				echoWebSocket(w, r)
				return
			}
			fmt.Fprint(w, "hi")
		})
		s.Nodes[0].HTTP, _ = strconv.Atoi(site[strings.LastIndexByte(site, ':')+1:])
	})))
	second, third := writePairAside(t), writePairAside(t)
	pairs := []*keyPair{first, second, third}
	browser := secureBrowser(t, pairs...)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var sockets []*websocket.Conn
	for range 200 {
		sockets = append(sockets, dialWebSocket(ctx, t, browser, b.address("https")))
	}
	var requests, failures atomic.Int64
	stop := make(chan struct{})
	var looping sync.WaitGroup
	address := b.address("https")
	looping.Go(func() {
		fresh := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(pairs...), DisableKeepAlives: true}}
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
	overwrite(t, filepath.Join(live, "lb.key"), second.key)
	b.eventually("the complaint", func(*Stats) bool { return strings.Contains(b.log.String(), "cannot be served") })
	if got := b.servedTo(trusting(pairs...)); got != "first.test" {
		t.Errorf("with half a pair %s is served", got)
	}
	overwrite(t, filepath.Join(live, "lb.crt"), second.cert)
	b.eventually("the second certificate", func(*Stats) bool { return b.servedTo(trusting(pairs...)) == "aside.test" })
	before := requests.Load()
	// Swapped as a whole, and reloaded before anybody looks.
	overwriteLinked(t, dir, third)
	b.reloaded(func(*Spec) {})
	b.eventually("requests under the third certificate", func(s *Stats) bool {
		return requests.Load() > before+10 && s.Certificate.NotAfter.Equal(leafOf(t, third).NotAfter)
	})
	close(stop)
	looping.Wait()
	for i, ws := range sockets {
		pingWebSocket(ctx, t, ws, strconv.Itoa(i))
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

func writePairAside(t testing.TB) *keyPair {
	t.Helper()
	return writePair(t, t.TempDir(), "aside.test")
}

func leafOf(t testing.TB, p *keyPair) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func overwrite(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// overwriteLinked swaps the link to the pair.
func overwriteLinked(t testing.TB, dir string, p *keyPair) {
	t.Helper()
	fresh, next := filepath.Join(dir, "fresh"), filepath.Join(dir, "next")
	if err := os.Mkdir(fresh, 0o700); err != nil {
		t.Fatal(err)
	}
	overwrite(t, filepath.Join(fresh, "lb.crt"), p.cert)
	overwrite(t, filepath.Join(fresh, "lb.key"), p.key)
	if err := os.Symlink(fresh, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, "live")); err != nil {
		t.Fatal(err)
	}
}

func TestCertificateThatCannotBeServed(t *testing.T) {
	dir := t.TempDir()
	good, other := writePair(t, dir, "a.test"), writePairAside(t)
	files := TLS{Cert: filepath.Join(dir, "live", "lb.crt"), Key: filepath.Join(dir, "live", "lb.key")}
	s := Spec{Listen: Listen{HTTPS: ":8443"}, TLS: files}
	if p, err := loadCertificate(&s); err != nil || p.exposed || p.leaf.Subject.CommonName != "a.test" {
		t.Fatalf("%+v, %v", p, err)
	}
	for name, change := range map[string]func(){
		"private key does not match": func() { overwrite(t, files.Key, other.key) },
		"failed to find any PEM":     func() { overwrite(t, files.Key, good.key[:20]) },
		"no such file":               func() { os.Remove(files.Cert) },
	} {
		overwrite(t, files.Cert, good.cert)
		overwrite(t, files.Key, good.key)
		change()
		if _, err := loadCertificate(&s); err == nil || !strings.Contains(err.Error(), name) || !strings.HasPrefix(err.Error(), "lb.tls") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A hangup has another pair of files put into force, which no look at the old ones would find.
func TestHangupReplacesTheCertificate(t *testing.T) {
	dir := t.TempDir()
	first := writePair(t, dir, "first.test")
	b := serve(t, startNodes(t, 1), withSites(t, withTLS(dir, nil)))
	hold, err := tls.Dial("tcp", b.address("https"), trusting(first))
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	other := t.TempDir()
	second := writePair(t, other, "second.test")
	b.edit(func(s *Spec) { withTLS(other, nil)(s) })
	b.signals <- syscall.SIGHUP
	b.eventually("the reload", func(s *Stats) bool { return s.Reload != nil && s.Reload.OK })
	if got := b.servedTo(trusting(second)); got != "second.test" {
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
	cert, key, err := SelfSigned([]string{"expired.test", "localhost"}, -1)
	if err != nil {
		t.Fatal(err)
	}
	overwriteLinked(t, dir, &keyPair{cert: cert, key: key})
}

// A certificate that clients would refuse does not replace one that they take, and is told once.
func TestExpiredCertificateReplacesNone(t *testing.T) {
	dir := t.TempDir()
	good := writePair(t, dir, "good.test")
	b := serve(t, startNodes(t, 1), withSites(t, withTLS(dir, nil)))
	expiredPair(t, dir)
	b.eventually("the complaint", func(*Stats) bool { return strings.Contains(b.log.String(), "it has expired") })
	if _, err := b.Reload(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "lb.tls: ") || !strings.Contains(err.Error(), "it has expired") {
		t.Errorf("reloaded with it: %v", err)
	}
	if got := b.servedTo(trusting(good)); got != "good.test" {
		t.Errorf("%s is served", got)
	}
	next := writePair(t, dir, "next.test")
	b.eventually("the next certificate", func(*Stats) bool { return b.servedTo(trusting(good, next)) == "next.test" })
	if n := strings.Count(b.log.String(), "cannot be served, the old one stays"); n != 1 {
		t.Errorf("%d complaints:\n%s", n, b.log)
	}
}

// Who has no other is served with it, and warned.
func TestExpiredCertificateAtTheStart(t *testing.T) {
	dir := t.TempDir()
	expiredPair(t, dir)
	b := serve(t, startNodes(t, 1), withSites(t, withTLS(dir, nil)))
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
		err := test.new.mayReplace(test.old, TLS{Cert: "lb.crt"})
		if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// However a swap of the pair falls together with reading it, one pair is read.
func TestCertificateIsReadWhole(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir, "a.test")
	a, _ := filepath.EvalSymlinks(filepath.Join(dir, "live"))
	writePair(t, dir, "b.test")
	b, _ := filepath.EvalSymlinks(filepath.Join(dir, "live"))
	s := Default()
	withTLS(dir, nil)(&s)
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
	pair := writePair(t, dir, "a.test")
	key := write(t, "key", strings.Repeat("ab", 32)+"\n")
	start := func() *balancer {
		return serve(t, startNodes(t, 1), withSites(t, withTLS(dir, func(s *Spec) { s.Workers, s.Sticky.KeyFile = 2, key })))
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := trusting(pair)
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
				first.reloaded(func(s *Spec) { s.Limits.MessagesPerSecond = 5 })
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
