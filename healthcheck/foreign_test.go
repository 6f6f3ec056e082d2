package healthcheck

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/sockdiag"
)

const haproxyPage = `# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,rate,
tcp_in,FRONTEND,,,1200,1300,2000,9000,1,1,0,0,0,,,,,OPEN,,12,
nodes,erlmcp1,0,0,600,650,,4500,1,1,,0,,0,0,0,0,UP,1,6,
nodes,erlmcp2,0,0,400,650,,4500,1,1,,0,,0,0,0,0,UP 1/3,1,6,
nodes,erlmcp3,0,0,0,650,,4500,1,1,,0,,0,0,0,0,DOWN,1,0,
nodes,erlmcp4,0,0,200,650,,4500,1,1,,0,,0,0,0,0,MAINT (via x/y),1,0,
nodes,BACKEND,0,0,1200,1300,200,9000,1,1,0,0,,0,0,0,0,UP,3,12,
web,erlmcp1,0,0,7,650,,4500,1,1,,0,,0,0,0,0,DRAIN,1,1,
stats,FRONTEND,,,1,2,2000,9,1,1,0,0,0,,,,,OPEN,,1,
`

func TestReadHAProxy(t *testing.T) {
	var b Balancer
	if err := readHAProxy(strings.NewReader(haproxyPage), &b); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(*b.Clients, *b.Rate)
	for _, n := range b.Nodes {
		got += fmt.Sprintf(" %s:%s:%d:%g", n.Name, n.State, n.Connections, *n.Rate)
	}
	const want = "1200 12 erlmcp1:draining:607:7 erlmcp2:up:400:6 erlmcp3:down:0:0 erlmcp4:maintenance:200:0"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestReadNginx(t *testing.T) {
	var b Balancer
	err := readNginx(strings.NewReader("Active connections: 291 \nserver accepts handled requests\n 16630948 16630948 31070465 \n"), &b)
	if err != nil || *b.Clients != 290 {
		t.Errorf("%+v, error %v", b, err)
	}
	for _, text := range []string{"", "<html>", "Active connections: -1"} {
		if err := readNginx(strings.NewReader(text), &Balancer{}); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func FuzzForeign(f *testing.F) {
	f.Add(haproxyPage)
	f.Add("Active connections: 291 \n")
	f.Fuzz(func(t *testing.T, page string) {
		var b Balancer
		_ = readHAProxy(strings.NewReader(page), &b)
		_ = readNginx(strings.NewReader(page), &b)
	})
}

// TestForeignStatistics finds HAProxy by its process, and its statistics on the second path that is tried.
func TestForeignStatistics(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stats;csv" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, haproxyPage)
	}))
	defer page.Close()
	c := Collector{
		Spec:   quick(),
		Listen: []Listener{{Name: "http", Address: "127.0.0.1:8080"}},
		Admin:  []string{strings.TrimPrefix(page.URL, "http://")},
		Holder: func(netip.AddrPort) (int, string, error) { return 12, "haproxy", nil },
	}
	f := c.findBalancer(t.Context())
	if b := f.balancer; b == nil || b.Engine != "haproxy" || b.PID != 12 || b.Clients == nil || *b.Clients != 1200 || len(b.Nodes) != 4 {
		t.Errorf("%+v", f.balancer)
	}
	if f.again == nil {
		t.Error("cannot be asked again")
	}
	c.Holder = func(netip.AddrPort) (int, string, error) { return 0, "", sockdiag.ErrNotListening }
	if f := c.findBalancer(t.Context()); f.balancer != nil || f.again != nil {
		t.Errorf("nobody there: %+v", f)
	}
	if err := c.askForeign(t.Context(), &Balancer{Engine: "else"}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("an engine without a page: %v", err)
	}
}

func TestCertificateReasons(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	until := func(d time.Duration) *Result {
		return &Result{OK: true, Detail: map[string]string{"expires": now.Add(d).Format(time.RFC3339)}}
	}
	for _, c := range []struct {
		handshake *Result
		want      string
	}{
		{nil, "[]"},
		{until(90 * 24 * time.Hour), "[]"},
		{until(5 * 24 * time.Hour), "[https: the certificate expires 2026-03-06, in 5 days]"},
		{until(30 * time.Hour), "[https: the certificate expires 2026-03-02, in 30 hours]"},
		{&Result{Error: "certificate expired 2026-02-01"}, "[https: certificate expired 2026-02-01]"},
	} {
		if got := fmt.Sprint(certificateReasons(c.handshake, now)); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// TestHTTPSListener has a balancer with a certificate.
func TestHTTPSListener(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	c := Collector{Spec: quick()}
	address := strings.TrimPrefix(s.URL, "https://")
	if r := c.handshake(t.Context(), []Listener{{"https", address, true}}); r == nil || !r.OK || r.Detail["expires"] == "" {
		t.Errorf("%+v", r)
	}
	if r := c.handshake(t.Context(), []Listener{{"https", address, false}, {"http", address, true}}); r != nil {
		t.Errorf("asked one that is down: %+v", r)
	}
}
