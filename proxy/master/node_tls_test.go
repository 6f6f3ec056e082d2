package master

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// The files are what they are said to be, or the reason is told.
func TestNodeTrust(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	client, other := ca.Issue("balancer.test", time.Hour), ca.Issue("balancer.test", time.Hour)
	files := ca.Files(client)
	if f, err := loadNodeTrust(files); err != nil || f.Towards("h").ServerName != "h" || f.Config.ServerName != "" {
		t.Fatal(err)
	}
	if f, err := loadNodeTrust(proxy.NodeTLS{ServerName: "n"}); err != nil || f.Towards("h").ServerName != "n" || f.Config.RootCAs != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(){
		"private key does not match":     func() { proxytest.Overwrite(t, files.Key, other.Key) },
		"failed to find any PEM":         func() { proxytest.Overwrite(t, files.Key, client.Key[:20]) },
		"lb.node_tls.cert: open":         func() { os.Remove(files.Cert) },
		"lb.node_tls.ca: open":           func() { os.Remove(files.CA) },
		"there is no certificate in it":  func() { proxytest.Overwrite(t, files.CA, client.Key) },
		"there is no certificate in it ": func() { proxytest.Overwrite(t, files.CA, nil) },
		"a certificate in it has no end": func() { proxytest.Overwrite(t, files.CA, bytes.Join([][]byte{ca.PEM, ca.PEM[:100]}, nil)) },
		"x509: malformed": func() {
			proxytest.Overwrite(t, files.CA, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		},
	} {
		proxytest.Overwrite(t, files.CA, ca.PEM)
		proxytest.Overwrite(t, files.Cert, client.Cert)
		proxytest.Overwrite(t, files.Key, client.Key)
		change()
		if _, err := loadNodeTrust(files); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) || !strings.HasPrefix(err.Error(), "lb.node_tls") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// secureNode is a node at the address of a site that speaks TLS.
func secureNode(name, site string) topology.Node {
	return topology.Node{Name: name, URL: strings.Replace(site, "127.0.0.1", "localhost", 1) + "/mcp"}.Complete()
}

// answersMCP proves life to checks.
func answersMCP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, "hello")
}

// Nodes are checked over TLS, and the authority and the client's certificate are replaced while requests are
// made: none fails. What cannot be used is told once and changes nothing.
func TestNodeTrustReplacedUnderLoad(t *testing.T) {
	old, next := proxytest.NewAuthority(t), proxytest.NewAuthority(t)
	files := old.Files(old.Issue("balancer.test", time.Hour))
	rotating := proxytest.ServerConfig(t, old.Issue("localhost", time.Hour)) // its certificate will be of the next authority
	sites := []string{
		proxytest.StartSecureSite(t, proxytest.ServerConfig(t, old.Issue("localhost", time.Hour)), answersMCP),
		proxytest.StartSecureSite(t, rotating, answersMCP),
		proxytest.StartSecureSite(t, proxytest.ServerConfig(t, next.Issue("localhost", time.Hour)), answersMCP),
		proxytest.StartSecureSite(t, proxytest.ServerConfig(t, old.Issue("other.test", time.Hour)), answersMCP),
	}
	b := serve(t, nil, func(s *proxy.Spec) {
		s.Nodes = []topology.Node{secureNode("n0", sites[0]), secureNode("n1", sites[1]), secureNode("next", sites[2]), secureNode("other", sites[3])}
		s.NodeTLS = files
		s.Listen.TCP, s.Listen.HTTP = "", "127.0.0.1:0"
		s.Checks.Kind, s.Checks.Rise = "mcp", 1
		s.Workers = 2
		s.Limits.MessagesPerSecond = 0
	})
	reason := func(node, want string) {
		t.Helper()
		b.eventually(node+" to be down", func(s *proxy.Stats) bool {
			n := s.Node(node)
			return n.State == proxy.NodeDown && strings.Contains(n.Check.Error, want)
		})
	}
	b.eventuallyState("n0", proxy.NodeUp)
	b.eventuallyState("n1", proxy.NodeUp)
	reason("next", "certificate is of an authority that is not trusted")
	reason("other", "certificate is not for localhost (names: other.test)")

	base := "http://" + b.address("http")
	v := keepAsking(4, func(c *http.Client) (*http.Response, error) { return c.Get(base + "/") })
	more := func() {
		t.Helper()
		before := v.asked.Load()
		b.eventually("more requests", func(*proxy.Stats) bool { return v.asked.Load() > before+50 || v.failed.Load() > 0 })
	}
	more()
	proxytest.Replace(t, files.CA, old.PEM[:len(old.PEM)/2])
	b.eventually("the complaint", func(*proxy.Stats) bool { return strings.Contains(b.log.String(), "cannot be used") })
	if _, err := b.Reload(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "lb.node_tls.ca: ") {
		t.Errorf("reloaded with half a file: %v", err)
	}
	more()
	proxytest.Replace(t, files.CA, bytes.Join([][]byte{old.PEM, next.PEM}, nil))
	b.eventuallyState("next", proxy.NodeUp) // noticed without a reload
	more()
	pair := next.Issue("balancer.test", time.Hour)
	proxytest.Replace(t, files.Key, pair.Key) // half of a pair
	more()
	proxytest.Replace(t, files.Cert, pair.Cert)
	b.reloaded(func(*proxy.Spec) {})
	more()
	reason("other", "certificate is not for localhost (names: other.test)")
	v.dismiss(t)
	if n := b.stats().Node("next").Requests; n == 0 {
		t.Error("nobody was sent to the node of the next authority")
	}
	// Another name to ask for, by a reload.
	b.reloaded(func(s *proxy.Spec) { s.NodeTLS.ServerName = "other.test" })
	b.eventuallyState("other", proxy.NodeUp)
	reason("n0", "certificate is not for other.test (names: localhost)")
	if strings.Contains(b.log.String(), "NOT VERIFIED") {
		t.Error("a warning without need")
	}
	b.reloaded(func(s *proxy.Spec) { s.NodeTLS = proxy.NodeTLS{Insecure: true} })
	for _, n := range []string{"n0", "n1", "next", "other"} {
		b.eventuallyState(n, proxy.NodeUp)
	}
	b.reloaded(func(*proxy.Spec) {})
	if n := strings.Count(b.log.String(), "NODES ARE NOT VERIFIED"); n != 1 {
		t.Errorf("warned %d times", n)
	}
	t.Logf("%d requests", v.asked.Load())
}

// A balancer does not start with files that cannot be used.
func TestNodeTrustAtTheStart(t *testing.T) {
	s := testSpec(proxytest.StartNodes(t, 1)...)
	s.NodeTLS.CA = filepath.Join(t.TempDir(), "missing.pem")
	b := newBalancer(t, s)
	if err := Serve(t.Context(), s, b.options(func() { t.Error("it serves") })); err == nil || !strings.HasPrefix(err.Error(), "lb.node_tls.ca: open ") {
		t.Errorf("got %v", err)
	}
}
