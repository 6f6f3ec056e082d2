package proxytest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/proxy"
)

// KeyPair is a certificate with its key, as PEM.
type KeyPair struct{ Cert, Key []byte }

// LocalPair is a certificate for localhost and 127.0.0.1, the same for all tests of a process.
var LocalPair = sync.OnceValue(func() *KeyPair {
	cert, key, err := proxy.SelfSigned([]string{"localhost", "127.0.0.1"}, 30)
	if err != nil {
		panic(err)
	}
	return &KeyPair{Cert: cert, Key: key}
})

// Trusting is the configuration of a client that trusts the certificates of pairs, and them alone, for localhost.
func Trusting(pairs ...*KeyPair) *tls.Config {
	roots := x509.NewCertPool()
	for _, p := range pairs {
		roots.AppendCertsFromPEM(p.Cert)
	}
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// SecureBrowser is an HTTP client that trusts the certificates of pairs.
func SecureBrowser(t testing.TB, pairs ...*KeyPair) *http.Client {
	transport := &http.Transport{TLSClientConfig: Trusting(pairs...), MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// WritePair is PutPair of a fresh certificate for a host, and for localhost.
func WritePair(t testing.TB, dir, host string) *KeyPair {
	t.Helper()
	cert, key, err := proxy.SelfSigned([]string{host, "localhost"}, 30)
	if err != nil {
		t.Fatal(err)
	}
	p := &KeyPair{Cert: cert, Key: key}
	PutPair(t, dir, p)
	return p
}

// PutPair puts a pair into dir as the link live to a directory of its own, at once, as Kubernetes and certbot do.
func PutPair(t testing.TB, dir string, p *KeyPair) {
	t.Helper()
	fresh, err := os.MkdirTemp(dir, "pair")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "next")
	for _, err := range []error{
		os.WriteFile(filepath.Join(fresh, "lb.crt"), p.Cert, 0o644), os.WriteFile(filepath.Join(fresh, "lb.key"), p.Key, 0o600),
		os.Symlink(fresh, link), os.Rename(link, filepath.Join(dir, "live")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Authority issues certificates for tests.
type Authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	PEM  []byte
}

// Issue makes a certificate for a host, good for servers and clients, that is valid for that long.
func (a *Authority) Issue(host string, valid time.Duration) *KeyPair {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &KeyPair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
}

// Pool is what those know who trust the authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.PEM)
	return pool
}

// Files writes the authority's certificate into a file, and a pair, if there is one, into others.
func (a *Authority) Files(pair *KeyPair) proxy.NodeTLS {
	dir := a.t.TempDir()
	files := proxy.NodeTLS{CA: filepath.Join(dir, "ca.pem")}
	Overwrite(a.t, files.CA, a.PEM)
	if pair != nil {
		files.Cert, files.Key = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
		Overwrite(a.t, files.Cert, pair.Cert)
		Overwrite(a.t, files.Key, pair.Key)
	}
	return files
}

// NewAuthority makes an authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "authority of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// ServerConfig is that of a server which has the pair.
func ServerConfig(t testing.TB, p *KeyPair) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// StartSecureSite runs an HTTP server over TLS as a node, and returns its URL, without a path.
func StartSecureSite(t testing.TB, config *tls.Config, h http.HandlerFunc) (url string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	return "https://" + s.Listener.Addr().String()
}

// DialWebSocket opens a WebSocket over TLS as a browser does, without the browser's timeout.
func DialWebSocket(ctx context.Context, t testing.TB, browser *http.Client, address string) *websocket.Conn {
	t.Helper()
	timeless := *browser
	timeless.Timeout = 0
	ws, _, err := websocket.Dial(ctx, "wss://"+address+"/mcp/ws", &websocket.DialOptions{HTTPClient: &timeless}) //nolint:bodyclose // it is the socket's
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

// PingWebSocket sends a text and requires that it comes back.
func PingWebSocket(ctx context.Context, t testing.TB, ws *websocket.Conn, text string) {
	t.Helper()
	if err := ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := ws.Read(ctx); err != nil || string(got) != text {
		t.Fatalf("echoed %d bytes of %d, %v", len(got), len(text), err)
	}
}
