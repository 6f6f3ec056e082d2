package cmd

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
)

// entrance is a listener of the HTTP frontend as its clients know it.
type entrance struct {
	base string // URL, without a path
	ca   string // file of the certificate that clients have to trust, "" without TLS
}

// scheme names it.
func (e entrance) scheme() string {
	scheme, _, _ := strings.Cut(e.base, ":")
	return scheme
}

// browser is an HTTP client that trusts the certificate of the entrance and no other.
func (e entrance) browser(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	if e.ca != "" {
		pem, err := os.ReadFile(e.ca)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			t.Fatalf("no certificate in %s", e.ca)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &http.Client{Transport: transport}
}

// environ is the environment in which Node.js trusts the certificate too.
func (e entrance) environ() []string {
	if e.ca == "" {
		return os.Environ()
	}
	return append(os.Environ(), "NODE_EXTRA_CA_CERTS="+e.ca)
}

// selfSigned has "erlmcp lb cert" make a certificate for this host, and further ones, and its key in dir.
func selfSigned(t *testing.T, dir string, hosts ...string) (cert, key string) {
	t.Helper()
	args := []string{"lb", "cert", "--self-signed", "--out", dir}
	for _, h := range hosts {
		args = append(args, "--host", h)
	}
	if out, err := exec.Command("erlmcp", args...).CombinedOutput(); err != nil {
		t.Fatalf("lb cert: %v\n%s", err, out)
	}
	return filepath.Join(dir, "lb.crt"), filepath.Join(dir, "lb.key")
}

// entrances are those of a balancer whose certificate is in the file ca.
func entrances(t *testing.T, s *proxy.Stats, ca string) (plain, secure entrance) {
	t.Helper()
	for _, l := range s.Listeners {
		switch l.Name {
		case "http":
			plain = entrance{base: "http://" + l.Address}
		case "https":
			secure = entrance{base: "https://" + l.Address, ca: ca}
		}
	}
	if plain.base == "" || secure.base == "" {
		t.Fatalf("not over both: %+v", s.Listeners)
	}
	return plain, secure
}
