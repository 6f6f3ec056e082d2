package proxy

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
)

// The files are what they are said to be, or the reason is told.
func TestNodeTrust(t *testing.T) {
	ca := newAuthority(t)
	client, other := ca.issue("balancer.test", time.Hour), ca.issue("balancer.test", time.Hour)
	files := ca.files(client)
	if f, err := loadNodeTrust(files); err != nil || f.towards("h").ServerName != "h" || f.config.ServerName != "" {
		t.Fatal(err)
	}
	if f, err := loadNodeTrust(NodeTLS{ServerName: "n"}); err != nil || f.towards("h").ServerName != "n" || f.config.RootCAs != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(){
		"private key does not match":     func() { overwrite(t, files.Key, other.key) },
		"failed to find any PEM":         func() { overwrite(t, files.Key, client.key[:20]) },
		"lb.node_tls.cert: open":         func() { os.Remove(files.Cert) },
		"lb.node_tls.ca: open":           func() { os.Remove(files.CA) },
		"there is no certificate in it":  func() { overwrite(t, files.CA, client.key) },
		"there is no certificate in it ": func() { overwrite(t, files.CA, nil) },
		"a certificate in it has no end": func() { overwrite(t, files.CA, bytes.Join([][]byte{ca.pem, ca.pem[:100]}, nil)) },
		"x509: malformed": func() {
			overwrite(t, files.CA, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		},
	} {
		overwrite(t, files.CA, ca.pem)
		overwrite(t, files.Cert, client.cert)
		overwrite(t, files.Key, client.key)
		change()
		if _, err := loadNodeTrust(files); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) || !strings.HasPrefix(err.Error(), "lb.node_tls") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// replace puts a file there at once.
func swapFile(t testing.TB, name string, data []byte) {
	t.Helper()
	overwrite(t, name+".next", data)
	if err := os.Rename(name+".next", name); err != nil {
		t.Fatal(err)
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
	old, next := newAuthority(t), newAuthority(t)
	files := old.files(old.issue("balancer.test", time.Hour))
	rotating := serverConfig(t, old.issue("localhost", time.Hour)) // its certificate will be of the next authority
	sites := []string{
		startSecureSite(t, serverConfig(t, old.issue("localhost", time.Hour)), answersMCP),
		startSecureSite(t, rotating, answersMCP),
		startSecureSite(t, serverConfig(t, next.issue("localhost", time.Hour)), answersMCP),
		startSecureSite(t, serverConfig(t, old.issue("other.test", time.Hour)), answersMCP),
	}
	b := serve(t, nil, func(s *Spec) {
		s.Nodes = []topology.Node{secureNode("n0", sites[0]), secureNode("n1", sites[1]), secureNode("next", sites[2]), secureNode("other", sites[3])}
		s.NodeTLS = files
		s.Listen.TCP, s.Listen.HTTP = "", "127.0.0.1:0"
		s.Checks.Kind, s.Checks.Rise = "mcp", 1
		s.Workers = 2
		s.Limits.MessagesPerSecond = 0
	})
	reason := func(node, want string) {
		t.Helper()
		b.eventually(node+" to be down", func(s *Stats) bool {
			n := s.Node(node)
			return n.State == NodeDown && strings.Contains(n.Check.Error, want)
		})
	}
	b.eventuallyState("n0", NodeUp)
	b.eventuallyState("n1", NodeUp)
	reason("next", "certificate is of an authority that is not trusted")
	reason("other", "certificate is not for localhost (names: other.test)")

	base := "http://" + b.address("http")
	v := keepAsking(4, func(c *http.Client) (*http.Response, error) { return c.Get(base + "/") })
	more := func() {
		t.Helper()
		before := v.asked.Load()
		b.eventually("more requests", func(*Stats) bool { return v.asked.Load() > before+50 || v.failed.Load() > 0 })
	}
	more()
	swapFile(t, files.CA, old.pem[:len(old.pem)/2])
	b.eventually("the complaint", func(*Stats) bool { return strings.Contains(b.log.String(), "cannot be used") })
	if _, err := b.Reload(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "lb.node_tls.ca: ") {
		t.Errorf("reloaded with half a file: %v", err)
	}
	more()
	swapFile(t, files.CA, bytes.Join([][]byte{old.pem, next.pem}, nil))
	b.eventuallyState("next", NodeUp) // noticed without a reload
	more()
	pair := next.issue("balancer.test", time.Hour)
	swapFile(t, files.Key, pair.key) // half of a pair
	more()
	swapFile(t, files.Cert, pair.cert)
	b.reloaded(func(*Spec) {})
	more()
	reason("other", "certificate is not for localhost (names: other.test)")
	v.dismiss(t)
	if n := b.stats().Node("next").Requests; n == 0 {
		t.Error("nobody was sent to the node of the next authority")
	}
	// Another name to ask for, by a reload.
	b.reloaded(func(s *Spec) { s.NodeTLS.ServerName = "other.test" })
	b.eventuallyState("other", NodeUp)
	reason("n0", "certificate is not for other.test (names: localhost)")
	if strings.Contains(b.log.String(), "NOT VERIFIED") {
		t.Error("a warning without need")
	}
	b.reloaded(func(s *Spec) { s.NodeTLS = NodeTLS{Insecure: true} })
	for _, n := range []string{"n0", "n1", "next", "other"} {
		b.eventuallyState(n, NodeUp)
	}
	b.reloaded(func(*Spec) {})
	if n := strings.Count(b.log.String(), "NODES ARE NOT VERIFIED"); n != 1 {
		t.Errorf("warned %d times", n)
	}
	t.Logf("%d requests", v.asked.Load())
}

// A balancer does not start with files that cannot be used.
func TestNodeTrustAtTheStart(t *testing.T) {
	s := testSpec(startNodes(t, 1)...)
	s.NodeTLS.CA = filepath.Join(t.TempDir(), "missing.pem")
	b := newBalancer(t, s)
	if err := Serve(t.Context(), s, b.options(func() { t.Error("it serves") })); err == nil || !strings.HasPrefix(err.Error(), "lb.node_tls.ca: open ") {
		t.Errorf("got %v", err)
	}
}
