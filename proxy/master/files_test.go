package master

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
)

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, text []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key, err := proxy.SelfSigned([]string{"localhost"}, 30)
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, err := proxy.SelfSigned([]string{"localhost"}, 30)
	if err != nil {
		t.Fatal(err)
	}
	good := proxy.TLS{Cert: file("a.crt", cert, 0o644), Key: file("a.key", key, 0o600)}
	mixed := proxy.TLS{Cert: good.Cert, Key: file("b.key", otherKey, 0o600)}
	open := proxy.TLS{Cert: good.Cert, Key: file("open.key", key, 0o600)}
	if err := os.Chmod(open.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	for _, c := range []struct {
		name    string
		change  func(*proxy.Spec)
		after   time.Duration
		err     string // is in the error; "" is none
		warning string
	}{
		{"no files", func(*proxy.Spec) {}, 0, "", ""},
		{"a pair", func(s *proxy.Spec) { s.TLS = good }, 0, "", ""},
		{"a pair that ends soon", func(s *proxy.Spec) { s.TLS = good }, 20 * day, "", "lb.tls.cert: " + good.Cert + " ends at "},
		{"an expired pair", func(s *proxy.Spec) { s.TLS = good }, 40 * day, "lb.tls.cert: " + good.Cert + " has expired at ", ""},
		{"one of the future", func(s *proxy.Spec) { s.TLS = good }, -40 * day, "is not valid before ", ""},
		{"a pair that is none", func(s *proxy.Spec) { s.TLS = mixed }, 0, "private key does not match public key", ""},
		{"a key that everybody can read", func(s *proxy.Spec) { s.TLS = open }, 0, "", "everybody can read"},
		{"a certificate that is not there", func(s *proxy.Spec) { s.TLS = proxy.TLS{Cert: dir + "/none", Key: good.Key} }, 0, "lb.tls.cert: open ", ""},
		{"a key that is not there", func(s *proxy.Spec) { s.TLS = proxy.TLS{Cert: good.Cert, Key: dir + "/none"} }, 0, "lb.tls.key: open ", ""},
		{"no authorities", func(s *proxy.Spec) { s.NodeTLS.CA = good.Key }, 0, "lb.node_tls.ca: ", ""},
		{"a client's pair that has expired", func(s *proxy.Spec) { s.NodeTLS.Cert, s.NodeTLS.Key = good.Cert, good.Key }, 40 * day, "lb.node_tls.cert: ", ""},
		{"a client's pair that is none", func(s *proxy.Spec) { s.NodeTLS.Cert, s.NodeTLS.Key = good.Cert, mixed.Key }, 0, "lb.node_tls: ", ""},
		{"a key of sessions that is none", func(s *proxy.Spec) { s.Sticky.KeyFile = good.Cert }, 0, "lb.sticky.key_file: ", ""},
		{"header fields that are not there", func(s *proxy.Spec) { s.Checks.HeadersFile = dir + "/none" }, 0, "lb.checks.headers_file: ", ""},
	} {
		s := proxy.Default()
		c.change(&s)
		warnings, err := CheckFiles(&s, time.Now().Add(c.after))
		text, warned := "", strings.Join(warnings, "\n")
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, c.err) || (text == "") != (c.err == "") || !strings.Contains(warned, c.warning) || (warned == "") != (c.warning == "") {
			t.Errorf("%s: error %q, warnings %q", c.name, text, warned)
		}
	}
}
