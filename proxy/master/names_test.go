package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/log"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// zone is names and what they stand for. A name that is in neither map is not known.
type zone struct {
	mu       sync.Mutex
	hosts    map[string][]string
	services map[string][]net.SRV
}

func (z *zone) set(host string, addresses ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.hosts == nil {
		z.hosts = make(map[string][]string)
	}
	if z.hosts[host] = addresses; addresses == nil {
		delete(z.hosts, host)
	}
}

func (z *zone) serve(service string, records ...net.SRV) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.services = map[string][]net.SRV{service: records}
	if records == nil {
		z.services = nil
	}
}

func (z *zone) LookupNetIP(_ context.Context, _, host string) (list []netip.Addr, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	addresses, ok := z.hosts[strings.TrimSuffix(host, ".")]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	for _, a := range addresses {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, nil
}

func (z *zone) LookupSRV(_ context.Context, _, _, name string) (cname string, list []*net.SRV, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	records, ok := z.services[name]
	if !ok {
		return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	for i := range records {
		list = append(list, &records[i])
	}
	return name, list, nil
}

// following has names looked up all the time.
func following(s proxy.Spec) proxy.Spec {
	s.Resolve.Interval = 10 * time.Millisecond
	return s
}

// twin is a node at the same port of another loopback address.
func twin(t testing.TB, n *proxytest.FakeNode, name, address string) *proxytest.FakeNode {
	t.Helper()
	_, port, _ := net.SplitHostPort(n.Address())
	other, err := net.Listen("tcp4", net.JoinHostPort(address, port))
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	return proxytest.ServeNode(t, other, name, nil)
}

func TestNodeFollowsItsName(t *testing.T) {
	first := proxytest.StartNode(t, "first", nil)
	twin(t, first, "second", "127.0.0.2")
	z := &zone{}
	z.set("mcp.test", "127.0.0.1")
	s := following(testSpec(first))
	s.Nodes[0].Host = "mcp.test"
	b := serveIn(t, z, s, nil)
	c := b.dial() // the balancer has waited for the first check
	if got := c.Ask("hello"); got != "first" {
		t.Fatalf("answered by %s", got)
	}
	shown := b.stats().Nodes[0].Address

	// While it is among the answers, it stays where it is.
	z.set("mcp.test", "127.0.0.2", "127.0.0.1")
	r := b.reloaded(func(*proxy.Spec) {})
	if len(r.Moved) != 0 || len(b.stats().Nodes) != 1 {
		t.Errorf("moved: %q", r.Moved)
	}

	z.set("mcp.test", "::1", "127.0.0.2")
	b.eventually("the node at its new address", func(s *proxy.Stats) bool {
		n := s.Node("n0")
		return len(s.Nodes) == 2 && s.Nodes[1].Leaving && n.State == proxy.NodeUp && strings.HasPrefix(n.Transports[0].Found, "127.0.0.2:")
	})
	if got := b.dial().Ask("hello"); got != "second" {
		t.Errorf("a newcomer is answered by %s", got)
	}
	if got := c.Ask("still here"); got != "first" {
		t.Errorf("the one that was there is answered by %s", got)
	}

	// Both are shown, each as itself.
	_, port, _ := net.SplitHostPort(first.Address())
	if status, body := b.get("admin", "/metrics"); status != http.StatusOK ||
		!strings.Contains(body, `erlmcp_lb_node_connections{address="`+shown+`",node="n0"} 1`) ||
		!strings.Contains(body, `erlmcp_lb_node_connections{address="127.0.0.1:`+port+`",node="n0"} 1`) {
		t.Errorf("metrics are %d:\n%s", status, body)
	}
	if status, body := b.get("admin", "/stats;csv"); status != http.StatusOK || !strings.Contains(body, ",127.0.0.1:"+port+",") || !strings.Contains(body, ","+shown+",") {
		t.Errorf("csv is %d:\n%s", status, body)
	}
	c.Close()
	b.eventually("the old one to leave", func(s *proxy.Stats) bool { return len(s.Nodes) == 1 })
	if !strings.Contains(b.log.String(), "n0 has moved from 127.0.0.1 to 127.0.0.2") {
		t.Errorf("the log is\n%s", b.log)
	}
}

// A server of localhost may listen at one of its addresses alone, and start again at the other.
func TestNodeIsWhereItTakesConnections(t *testing.T) {
	ln, err := net.Listen("tcp4", proxytest.FreeAddress(t)) // taken again below
	if err != nil {
		t.Fatal(err)
	}
	first := proxytest.ServeNode(t, ln, "first", nil)
	second := twin(t, first, "second", "127.0.0.2")
	first.Stop()
	z := &zone{}
	z.set("localhost.test", "127.0.0.1", "127.0.0.2")
	s := following(testSpec(second))
	s.Nodes[0].Host = "localhost.test"
	b := serveIn(t, z, s, nil)
	at := func(address string) {
		t.Helper()
		b.eventually("the node to be found at "+address, func(s *proxy.Stats) bool {
			n := s.Node("n0")
			return n.State == proxy.NodeUp && strings.HasPrefix(n.Transports[0].Found, address+":")
		})
	}
	at("127.0.0.2")
	c := b.servedBy("second")
	b.reloaded(func(*proxy.Spec) {})
	at("127.0.0.2")
	if got := c.Ask("still here"); got != "second" {
		t.Errorf("answered by %s", got)
	}
	twin(t, second, "third", "127.0.0.1")
	second.Stop()
	at("127.0.0.1")
	b.servedBy("third")
}

// Where only ::1 takes connections, localhost is there, also on a machine that has it as 127.0.0.1 alone.
func TestLocalhostIsBothLoopbackAddresses(t *testing.T) {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6: %v", err)
	}
	n := proxytest.ServeNode(t, ln, "six", nil)
	z := &zone{}
	z.set("localhost", "127.0.0.1")
	s := following(testSpec(n))
	s.Nodes[0].Host = "localhost"
	b := serveIn(t, z, s, nil)
	b.servedBy("six")
	for name, want := range map[string]bool{"LocalHost.": true, "mcp.localhost": true, "localhost.test": false, "notlocalhost": false, "": false} {
		if isLocalhost(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}

// One recorder follows both nodes of a name, each by its own counters.
func TestRecorderTellsMovedNodesApart(t *testing.T) {
	r := newRecorder()
	n := topology.Node{Name: "n0", Host: "mcp.test", HTTP: 80}
	node := func(addr, shown string, messages uint64) nodeCounts {
		m := member{node: n, addr: netip.MustParseAddr(addr)}
		return nodeCounts{NodeStats: proxy.NodeStats{Name: "n0", Address: shown, Messages: messages}, key: m.identity()}
	}
	at := time.Now()
	r.record(counts{Stats: proxy.Stats{Time: at}, nodes: []nodeCounts{node("10.0.0.1", "mcp.test:80", 1000)}})
	c := counts{Stats: proxy.Stats{Time: at.Add(time.Second)}, nodes: []nodeCounts{node("10.0.0.2", "mcp.test:80", 0), node("10.0.0.1", "10.0.0.1:80", 1010)}}
	r.record(c)
	c.Time, c.nodes[0].Messages, c.nodes[1].Messages = at.Add(2*time.Second), 7, 1015
	r.record(c)
	s := r.view(c)
	if got := [2]float64{s.Nodes[0].Rates.Messages, s.Nodes[1].Rates.Messages}; got != [2]float64{7, 5} {
		t.Errorf("messages per second are %v", got)
	}
}

func TestNameThatIsNotKnown(t *testing.T) {
	nodes := proxytest.StartNodes(t, 2)
	z := &zone{}
	s := following(testSpec(nodes...))
	s.Nodes[0].Host = "mcp.test"
	b := serveIn(t, z, s, nodes)
	b.eventuallyState("n1", proxy.NodeUp)
	want := func() {
		t.Helper()
		n := b.stats().Node("n0")
		if n == nil || n.State != proxy.NodeDown || n.Check.Error != "cannot resolve mcp.test: no such host" || !strings.HasPrefix(n.Address, "mcp.test:") {
			t.Errorf("the node is %+v", n)
		}
	}
	want()
	b.reloaded(func(s *proxy.Spec) { s.Limits.MaxPerSource = 9 })
	want()
	b.dial().Ask("hello")
	if status, body := b.get("admin", "/metrics"); status != http.StatusOK {
		t.Errorf("metrics are %d: %s", status, body)
	}
	if _, err := b.Drain(t.Context(), "n0"); err != nil {
		t.Error(err)
	}
	if n := b.stats().Node("n0"); n.State != proxy.NodeMaintenance {
		t.Errorf("drained, it is %s", n.State)
	}
	if _, err := b.Enable(t.Context(), "n0"); err != nil {
		t.Error(err)
	}

	// Once it is known, the node serves; and it stays when the answer is empty, or there is none.
	z.set("mcp.test", "127.0.0.1")
	b.eventuallyState("n0", proxy.NodeUp)
	z.set("mcp.test", []string{}...)
	noted := func(note string) {
		t.Helper()
		b.eventually("a note", func(s *proxy.Stats) bool { return s.Node("n0").Note == note })
		if n := b.stats().Node("n0"); n.State != proxy.NodeUp || n.StateChanges != 1 || len(b.stats().Nodes) != 2 {
			t.Errorf("the node is %+v", n)
		}
	}
	noted("cannot resolve mcp.test: the answer is empty")
	z.set("mcp.test")
	noted("cannot resolve mcp.test: no such host")
	if r := b.reloaded(func(*proxy.Spec) {}); len(r.Changed)+len(r.Moved) != 0 {
		t.Errorf("reloaded: %+v", r)
	}
	noted("cannot resolve mcp.test: no such host")
	z.set("mcp.test", "127.0.0.1")
	noted("")
	if n := strings.Count(b.log.String(), "no such host"); n != 2 { // at the start, and when it was lost
		t.Errorf("told %d times:\n%s", n, b.log)
	}
}

// moved is a balancer over a node whose name stands for its twin since, and is not looked up again for an hour.
func moved(t testing.TB) *balancer {
	t.Helper()
	first := proxytest.StartNode(t, "first", nil)
	twin(t, first, "second", "127.0.0.2")
	z := &zone{}
	z.set("mcp.test", "127.0.0.1")
	s := testSpec(first)
	s.Nodes[0].Host, s.Resolve.Interval = "mcp.test", time.Hour
	b := serveIn(t, z, s, []*proxytest.FakeNode{first})
	b.eventuallyState("n0", proxy.NodeUp)
	z.set("mcp.test", "127.0.0.2")
	return b
}

func TestReloadSaysWhatMoved(t *testing.T) {
	b := moved(t)
	r := b.reloaded(func(*proxy.Spec) {})
	wantKeys(t, r.Changed)
	wantKeys(t, r.Moved, "n0 has moved from 127.0.0.1 to 127.0.0.2")
}

// A node that goes down is looked up at once.
func TestFailureHasTheNameLookedUp(t *testing.T) {
	b := moved(t)
	b.nodes[0].Stop()
	b.eventually("the node elsewhere", func(s *proxy.Stats) bool {
		n := s.Node("n0")
		return n.State == proxy.NodeUp && strings.HasPrefix(n.Transports[0].Found, "127.0.0.2:")
	})
}

// namedSite answers with its name.
func namedSite(t testing.TB, name string) (port uint16) {
	_, text, _ := net.SplitHostPort(proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(number)
}

func TestServiceIsNodes(t *testing.T) {
	a, c := namedSite(t, "a"), namedSite(t, "c")
	z := &zone{}
	const service = "_mcp._tcp.example.test"
	s := following(testSpec())
	s.Listen.HTTP, s.Balance, s.Limits.MessagesPerSecond = "127.0.0.1:0", proxy.BalanceRoundRobin, 0
	s.Nodes = []topology.Node{{Name: "svc", Host: service}}
	b := serveIn(t, z, s, nil)
	if n := b.stats().Node("svc"); n == nil || n.State != proxy.NodeDown || n.Check.Error != "cannot resolve "+service+": no such host" {
		t.Fatalf("the service is %+v", n)
	}
	z.set("a.test", "127.0.0.1")
	z.set("c.test", "127.0.0.1")
	z.serve(service, net.SRV{Target: "a.test.", Port: a, Weight: 10}, net.SRV{Target: "c.test.", Port: c, Weight: 30}, net.SRV{Target: "b.test.", Port: 9, Priority: 1})
	first, second := s.Nodes[0].At("a.test", int(a)).Name, s.Nodes[0].At("c.test", int(c)).Name
	b.eventuallyState(first, proxy.NodeUp)
	b.eventuallyState(second, proxy.NodeUp)
	if s := b.stats(); len(s.Nodes) != 2 || s.Node(first).FullWeight != 10 || s.Node(second).FullWeight != 30 {
		t.Errorf("nodes are %+v", s.Nodes)
	}
	base := "http://" + b.address("http")
	b.eventually("both to serve", func(s *proxy.Stats) bool { get(t, base); return s.Node(first).Total > 0 && s.Node(second).Total > 0 })
	z.serve(service, net.SRV{Target: "a.test.", Port: a})
	b.eventually("one to leave", func(s *proxy.Stats) bool {
		return len(s.Nodes) == 1 && s.Nodes[0].Name == first && s.Nodes[0].FullWeight == 1
	})
	z.serve(service)
	b.eventually("a note", func(s *proxy.Stats) bool { return s.Nodes[0].Note == "cannot resolve "+service+": no such host" })
	if got := get(t, base); got != "a" {
		t.Errorf("answered by %q", got)
	}
	located := Locate(t.Context(), proxy.Resolve{Timeout: time.Second, Servers: []string{"127.0.0.1:1"}}, s.Nodes)
	if !slices.Equal(located, s.Nodes) {
		t.Errorf("a service that is not found is located as %+v", located)
	}
}

// get asks for a page and returns it, or the status if that is not 200.
func get(t testing.TB, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		t.Fatal(err)
	case resp.StatusCode != http.StatusOK:
		return resp.Status
	}
	return string(text)
}

func TestTargets(t *testing.T) {
	for _, test := range []struct {
		name    string
		records []*net.SRV
		want    []target
	}{
		{"none", nil, nil},
		{"no such service", []*net.SRV{{Target: ".", Port: 1}}, nil},
		{"the best priority", []*net.SRV{{Target: "B.", Port: 1, Priority: 2}, {Target: "a.", Port: 2, Priority: 1}, {Target: "c.", Port: 2, Priority: 3}}, []target{{"a.", 2, 0}}},
		{"each once, in order", []*net.SRV{{Target: "b.", Port: 2, Weight: 3}, {Target: "B.", Port: 2, Weight: 3}, {Target: "b.", Port: 1, Weight: 3}}, []target{{"b.", 1, 0}, {"b.", 2, 0}}},
		{"weights", []*net.SRV{{Target: "a.", Port: 1, Weight: 0}, {Target: "b.", Port: 1, Weight: 256}}, []target{{"a.", 1, 1}, {"b.", 1, 256}}},
		{"great weights", []*net.SRV{{Target: "a.", Port: 1, Weight: 100}, {Target: "b.", Port: 1, Weight: 65535}, {Target: "c.", Port: 1, Weight: 32768}}, []target{{"a.", 1, 1}, {"b.", 1, 256}, {"c.", 1, 128}}},
		{"no port", []*net.SRV{{Target: "a."}}, nil},
	} {
		if got := targets(test.records); !slices.Equal(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestArrange(t *testing.T) {
	addrs := func(texts ...string) (list []netip.Addr) {
		for _, text := range texts {
			list = append(list, netip.MustParseAddr(text))
		}
		return list
	}
	for _, test := range []struct {
		present, heard []netip.Addr
		want           string
	}{
		{nil, addrs("::1", "10.0.0.1", "10.0.0.2"), "[10.0.0.1 10.0.0.2 ::1]"},
		{nil, addrs("::ffff:10.0.0.1", "10.0.0.1"), "[10.0.0.1]"},
		{nil, addrs("::1", "::2"), "[::1 ::2]"},
		{addrs("10.0.0.2"), addrs("10.0.0.1", "10.0.0.2"), "[10.0.0.2 10.0.0.1]"},
		{addrs("::2", "::1"), addrs("::1", "10.0.0.1", "::2"), "[::2 10.0.0.1 ::1]"},
		{addrs("10.0.0.9"), addrs("10.0.0.1"), "[10.0.0.1]"},
	} {
		if got := fmt.Sprint(arrange(test.present, test.heard)); got != test.want {
			t.Errorf("of %v with %v: %s, want %s", test.heard, test.present, got, test.want)
		}
	}
}

// dnsServer answers over UDP from a zone.
func dnsServer(t testing.TB, z *zone) (address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { conn.Close(); serving.Wait() })
	serving.Go(func() {
		for buffer := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			z.answer(&m)
			if reply, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	})
	return conn.LocalAddr().String()
}

// answer makes a question its answer.
func (z *zone) answer(m *dnsmessage.Message) {
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	m.Response, m.Authoritative, m.RecursionAvailable, m.Additionals = true, true, true, nil
	add := func(body dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: body})
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	records, service := z.services[name]
	addresses, host := z.hosts[name]
	if !service && !host {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, r := range records {
		if q.Type == dnsmessage.TypeSRV {
			add(&dnsmessage.SRVResource{Priority: r.Priority, Weight: r.Weight, Port: r.Port, Target: dnsmessage.MustNewName(r.Target)})
		}
	}
	for _, text := range addresses {
		switch a := netip.MustParseAddr(text); {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			add(&dnsmessage.AResource{A: a.As4()})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			add(&dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
}

func TestNamesAskServers(t *testing.T) {
	z := &zone{}
	z.set("a.test", "192.0.2.1", "2001:db8::1")
	z.set("six.test", "2001:db8::6")
	z.serve("_mcp._tcp.test", net.SRV{Target: "a.test.", Port: 81, Weight: 1}, net.SRV{Target: "gone.test.", Port: 82, Weight: 1})
	r := proxy.Resolve{Timeout: 10 * time.Second, Servers: []string{dnsServer(t, z)}}
	nodes := []topology.Node{
		{Name: "a", Host: "a.test", HTTP: 80}, {Name: "six", Host: "six.test", HTTP: 80}, {Name: "none", Host: "none.test", HTTP: 80},
		{Name: "literal", Host: "::1", HTTP: 80}, {Name: "svc", Host: "_mcp._tcp.test", URL: "http://_mcp._tcp.test/x", Path: "/x"},
	}
	ns := newNames(log.New(io.Discard))
	ns.learn(ns.ask(t.Context(), newResolver(r), r.Timeout, nodes))
	var got []string
	for _, f := range ns.find(nodes) {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %v %s", f.node.HTTPAddress(), f.node.URL, f.addr, f.why)))
	}
	want := []string{
		"a.test:80  192.0.2.1", "six.test:80  2001:db8::6", "none.test:80  invalid IP cannot resolve none.test: no such host", "[::1]:80  ::1",
		"a.test:81 http://a.test:81/x 192.0.2.1", "gone.test:82 http://gone.test:82/x invalid IP cannot resolve gone.test: no such host",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if located := Locate(t.Context(), r, nodes); len(located) != 6 || located[5].Host != "gone.test" {
		t.Errorf("located are %+v", located)
	}
	ns.retain(nodes[:1])
	if len(ns.hosts) != 1 || len(ns.services) != 0 {
		t.Errorf("%+v and %+v are kept for one node", ns.hosts, ns.services)
	}
}

func TestNodesComeFromAFile(t *testing.T) {
	line := proxytest.StartNode(t, "n0", nil)
	web := namedSite(t, "web")
	_, port, _ := net.SplitHostPort(line.Address())
	name := filepath.Join(t.TempDir(), "nodes.json")
	s := testSpec()
	s.Listen.HTTP, s.NodesFrom, s.Limits.MessagesPerSecond = "127.0.0.1:0", name, 0
	b := serve(t, nil, func(to *proxy.Spec) { *to = s })
	if got := b.stats(); len(got.Nodes) != 0 || got.NodesFrom == nil || !strings.HasSuffix(got.NodesFrom.Error, "nodes.json: no such file or directory") {
		t.Fatalf("without a file: %+v, %+v", got.Nodes, got.NodesFrom)
	}
	b.address("tcp")
	b.address("http") // both listen, and nobody is served yet

	one := fmt.Sprintf(`{"name": "n0", "host": "127.0.0.1", "tcp": %s}`, port)
	two := fmt.Sprintf(`{"name": "n1", "host": "127.0.0.1", "http": %d}`, web)
	proxytest.Replace(t, name, []byte("["+one+"]"))
	c := b.servedBy("n0")
	proxytest.Replace(t, name, []byte("["+one+","+two+"]"))
	b.eventually("n1 to serve", func(*proxy.Stats) bool { return get(t, "http://"+b.address("http")) == "web" })
	c.Ask("still here")

	// What is no list of nodes changes nothing, and is said once.
	proxytest.Replace(t, name, []byte("["+one+","))
	b.eventually("the error", func(s *proxy.Stats) bool { return strings.HasSuffix(s.NodesFrom.Error, "unexpected end of JSON input") })
	proxytest.Replace(t, name, []byte("["+one+","+one+"]"))
	b.eventually("the other error", func(s *proxy.Stats) bool {
		return strings.HasSuffix(s.NodesFrom.Error, `together with lb.nodes: lb.nodes[1].name: "n0" is already the name of [0]`)
	})
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	b.eventually("the file to be missed", func(s *proxy.Stats) bool { return strings.Contains(s.NodesFrom.Error, "no such file") })
	b.reloaded(func(*proxy.Spec) {})
	if s := b.stats(); len(s.Nodes) != 2 || s.Node("n0").State != proxy.NodeUp || s.Node("n1").State != proxy.NodeUp || s.NodesFrom.Nodes != 2 {
		t.Errorf("nodes are %+v, from %+v", s.Nodes, s.NodesFrom)
	}
	if n := strings.Count(b.log.String(), "no such file"); n != 2 { // at the start, and now
		t.Errorf("told %d times:\n%s", n, b.log)
	}

	// One that is gone serves whom it has.
	proxytest.Replace(t, name, []byte("["+two+"]"))
	b.eventually("n0 to leave", func(s *proxy.Stats) bool {
		return len(s.Nodes) == 2 && s.Nodes[1].Name == "n0" && s.Nodes[1].Leaving && s.NodesFrom.Error == ""
	})
	c.Ask("still here")
	c.Close()
	b.eventually("n0 to be gone", func(s *proxy.Stats) bool { return len(s.Nodes) == 1 })
}

// A file is taken once it stands still.
func TestHalfAFileIsNotTaken(t *testing.T) {
	name := filepath.Join(t.TempDir(), "nodes.json")
	m := &master{names: newNames(log.New(io.Discard)), log: log.New(io.Discard)}
	m.serving, m.endServe = context.WithCancel(t.Context())
	defer m.endServe()
	decoded := 0
	m.o.DecodeNodes = func(string, []byte) ([]topology.Node, error) { decoded++; return nil, errors.New("bad") }
	s := ofFour()
	s.NodesFrom = name
	m.inForce.Store(&effective{spec: s, file: nodeFile{name: name}})
	proxytest.Overwrite(t, name, []byte("[1"))
	seen := m.lookAtNodeFile(nil)
	proxytest.Overwrite(t, name, []byte("[1,2]"))
	seen = m.lookAtNodeFile(seen)
	if decoded != 0 {
		t.Fatal("taken while it was written")
	}
	seen = m.lookAtNodeFile(seen)
	if decoded != 1 || m.inForce.Load().file.err == nil {
		t.Fatalf("decoded %d times", decoded)
	}
	m.lookAtNodeFile(seen)
	if decoded != 1 {
		t.Error("decoded again though nothing has changed")
	}
}
