package master

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/admin"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// adminRequest is request of the admin listener.
func (b *balancer) adminRequest(method, path, body string, headers ...string) (status int, header http.Header, answer string) {
	b.t.Helper()
	reply, answer := b.request("admin", method, path, body, headers...)
	return reply.StatusCode, reply.Header, answer
}

func (b *balancer) adminToken() string {
	b.t.Helper()
	token, err := b.Token(b.t.Context())
	if err != nil || len(token) < 26 {
		b.t.Fatalf("the token is %q, %v", token, err)
	}
	return token
}

func TestAdminPage(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	status, header, page := b.adminRequest("GET", "/", "")
	if _, _, same := b.adminRequest("GET", "/stats", ""); status != 200 || same != page {
		t.Errorf("/ is %d, /stats something else", status)
	}
	policy := header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers are %v", header)
	}
	links := regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 10 {
		t.Fatalf("the page refers to %v", links)
	}
	for _, link := range links {
		status, header, body := b.adminRequest("GET", link[1], "")
		if status != 200 || body == "" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s is %d, %v", link[1], status, header)
		}
		if tag := header.Get("ETag"); tag != "" {
			if status, _, _ := b.adminRequest("GET", link[1], "", "If-None-Match", tag); status != http.StatusNotModified {
				t.Errorf("%s is sent again: %d", link[1], status)
			}
		} else if got := header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s may be kept: %q", link[1], got)
		}
	}
	if foreign := regexp.MustCompile(`https?://|style="|<script>|\son[a-z]+="`).FindString(page); foreign != "" {
		t.Errorf("the page holds %s", foreign)
	}
	if status, _, _ := b.adminRequest("HEAD", "/events", ""); status != 200 {
		t.Errorf("HEAD /events is %d", status)
	}
}

func TestAdminCommands(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 2), nil)
	bearer := "Bearer " + b.adminToken()
	if _, err := b.Ban(t.Context(), "192.0.2.1", time.Minute); err != nil {
		t.Fatal(err)
	}
	command := func(path, body string) (int, string) {
		t.Helper()
		status, header, answer := b.adminRequest("POST", path, body, "Authorization", bearer, "Origin", "http://"+b.address("admin"), "Sec-Fetch-Site", "same-origin")
		if got := header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s may be kept: %q", path, got)
		}
		return status, answer
	}
	var n proxy.NodeStats
	status, answer := command("/api/nodes/n0/drain", "")
	if err := json.Unmarshal([]byte(answer), &n); err != nil || status != 200 || n.Name != "n0" || n.State != proxy.NodeDraining {
		t.Errorf("drained: %d, %s", status, answer)
	}
	if n := b.stats().Node("n0"); n.State != proxy.NodeDraining {
		t.Errorf("it is %s", n.State)
	}
	if status, answer = command("/api/nodes/n0/enable", ""); status != 200 || b.stats().Node("n0").State != proxy.NodeUp {
		t.Errorf("enabled: %d, %s", status, answer)
	}
	if status, answer = command("/api/unban", `{"client":"192.0.2.1"}`); status != 200 || b.stats().Sources.Banned != 0 {
		t.Errorf("unbanned: %d, %s", status, answer)
	}
	for _, test := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/api/token", "", 200, "{}"},
		{"/api/nodes/n7/drain", "", 404, `unknown node \"n7\"`},
		{"/api/nodes/n0/stop", "", 404, "not found"},
		{"/api/unban", `{"client":"192.0.2.1"}`, 409, "192.0.2.1 is not banned"},
		{"/api/unban", `{"client":"all"}`, 400, "is not an IP address"},
		{"/api/unban", `{`, 400, "malformed"},
		{"/api/unban", `{"client":"` + strings.Repeat("1", 8<<10) + `"}`, 400, "too large"},
	} {
		if status, answer := command(test.path, test.body); status != test.status || !strings.Contains(answer, test.want) {
			t.Errorf("%s %.40s: %d, %s", test.path, test.body, status, answer)
		}
	}
	if strings.Contains(b.log.String(), b.adminToken()) {
		t.Error("the log holds the token")
	}
}

func TestAdminRefusals(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), func(s *proxy.Spec) { s.Admin.Hosts = []string{"lb.example.org"} })
	bearer, own := "Bearer "+b.adminToken(), "http://"+b.address("admin")
	for name, test := range map[string]struct {
		method, path string
		headers      []string
		want         int
	}{
		"no token":                {"POST", "/api/nodes/n0/drain", nil, 401},
		"wrong token":             {"POST", "/api/nodes/n0/drain", []string{"Authorization", bearer + "A"}, 401},
		"token in the query":      {"POST", "/api/nodes/n0/drain?token=" + strings.TrimPrefix(bearer, "Bearer "), nil, 401},
		"no token, no such path":  {"POST", "/api/nothing", nil, 401},
		"other site":              {"POST", "/api/nodes/n0/drain", []string{"Authorization", bearer, "Sec-Fetch-Site", "cross-site"}, 403},
		"other origin":            {"POST", "/api/nodes/n0/drain", []string{"Authorization", bearer, "Origin", "http://evil.test"}, 403},
		"other port":              {"POST", "/api/nodes/n0/drain", []string{"Authorization", bearer, "Origin", "http://127.0.0.1:1"}, 403},
		"rebound host":            {"POST", "/api/nodes/n0/drain", []string{"Authorization", bearer, "Host", "evil.test", "Origin", "http://evil.test", "Sec-Fetch-Site", "same-origin"}, 403},
		"preflight":               {"OPTIONS", "/api/nodes/n0/drain", []string{"Origin", "http://evil.test", "Access-Control-Request-Method", "POST"}, 401},
		"read only method":        {"GET", "/api/nodes/n0/drain", []string{"Authorization", bearer, "Origin", own}, 405},
		"rebound page":            {"GET", "/", []string{"Host", "evil.test:8404"}, 403},
		"rebound statistics":      {"GET", "/stats.json", []string{"Host", "evil.test"}, 403},
		"rebound events":          {"GET", "/events", []string{"Host", "evil.test"}, 403},
		"rebound metrics":         {"GET", "/metrics", []string{"Host", "evil.test"}, 403},
		"configured name":         {"GET", "/stats.json", []string{"Host", "lb.example.org:8404"}, 200},
		"localhost":               {"GET", "/stats.json", []string{"Host", "localhost"}, 200},
		"statistics take no POST": {"POST", "/stats.json", nil, 405},
	} {
		status, header, answer := b.adminRequest(test.method, test.path, "", test.headers...)
		if status != test.want || header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: got %d, want %d: %.200s", name, status, test.want, answer)
		}
	}
	if n := b.stats().Node("n0"); n.State != proxy.NodeUp {
		t.Errorf("the node is %s", n.State)
	}
	b.edit(func(s *proxy.Spec) { s.Admin.Hosts = nil })
	if r, err := b.Reload(t.Context()); err != nil || !slices.Equal(r.Changed, []string{"lb.admin.hosts"}) {
		t.Errorf("reloaded: %+v, %v", r, err)
	}
	if status, _, _ := b.adminRequest("GET", "/stats.json", "", "Host", "lb.example.org"); status != 403 {
		t.Errorf("a name that is no longer configured gets %d", status)
	}
}

// Connections of every listener are handled, whatever becomes of their requests.
func TestNginxStatus(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), proxytest.WithSites(t, nil))
	for range 2 {
		b.dial().Ask("hello")
	}
	for range 3 {
		b.fetch("/")
	}
	c, err := net.Dial("tcp", b.address("http"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "nonsense\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b.eventually("what was asked", func(s *proxy.Stats) bool {
		return s.Nodes[0].Messages == 5 && s.Refused.BadRequest == 1 && s.Connections.Active == 2
	})
	want := "Active connections: 2 \nserver accepts handled requests\n 6 6 5 \nReading: 0 Writing: 0 Waiting: 2 \n"
	for _, listener := range []string{"admin", "health"} {
		if status, body := b.get(listener, "/nginx_status"); status != 200 || body != want {
			t.Errorf("%s: %d, %q", listener, status, body)
		}
	}
}

// readCSV reads statistics as a monitor does: lines by column.
func readCSV(t *testing.T, text string) (header []string, rows map[string]map[string]string) {
	t.Helper()
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(lines) < 2 {
		t.Fatalf("%v in %s", err, text)
	}
	rows = map[string]map[string]string{}
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, value := range line {
			row[lines[0][i]] = value
		}
		if rows[line[1]] == nil { // else it is of HAProxy's own listener
			rows[line[1]] = row
		}
	}
	return lines[0], rows
}

func TestCSV(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 2), func(s *proxy.Spec) { s.Sticky.TCP = proxy.StickyNone })
	for range 4 {
		b.dial().Ask("hello")
	}
	if _, err := b.Drain(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	b.eventually("the messages", func(s *proxy.Stats) bool {
		return s.Nodes[0].Messages+s.Nodes[1].Messages == 4 && s.Nodes[0].Connect.Count > 0
	})
	status, body := b.get("admin", "/stats;csv")
	if _, same := b.get("admin", "/;csv"); status != 200 || len(same) == 0 {
		t.Errorf("it is %d", status)
	}
	_, rows := readCSV(t, body)
	for name, want := range map[string]map[string]string{
		"FRONTEND": {"# pxname": "tcp", "status": "OPEN", "scur": "4", "stot": "4", "slim": "1000", "type": "0", "mode": "tcp", "dcon": "0", "-": "-"},
		"BACKEND":  {"# pxname": "nodes", "status": "UP", "scur": "4", "stot": "4", "act": "1", "weight": "1", "type": "1", "algo": "leastconn"},
		"n0":       {"# pxname": "nodes", "status": "UP", "scur": "2", "lbtot": "2", "weight": "1", "uweight": "1", "type": "2", "sid": "1", "check_status": "L4OK", "addr": b.nodes[0].Address(), "bin": "12", "smax": "2"},
		"n1":       {"# pxname": "nodes", "status": "DRAIN", "scur": "2", "act": "0", "sid": "2", "econ": "0", "wredis": "0"},
	} {
		for column, value := range want {
			if got := rows[name][column]; got != value {
				t.Errorf("%s of %s is %q, want %q", column, name, got, value)
			}
		}
	}
}

// TestCSVOfHAProxy compares with a real HAProxy in front of the same nodes: the same columns, and no
// value where it has none.
func TestCSVOfHAProxy(t *testing.T) {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("haproxy is not installed")
	}
	b := serve(t, proxytest.StartNodes(t, 2), nil)
	b.nodes[1].Stop()
	b.eventuallyState("n1", proxy.NodeDown)
	theirHeader, theirs := readCSV(t, haproxyCSV(t, path, b.nodes))
	_, body := b.get("admin", "/stats;csv")
	header, ours := readCSV(t, body)
	if !slices.Equal(header, theirHeader) {
		t.Errorf("columns are\n%v\nand HAProxy's\n%v", header, theirHeader)
	}
	for name, row := range ours {
		for column, value := range row {
			if value != "" && theirs[name][column] == "" {
				t.Errorf("%s of %s is %q, and empty at HAProxy", column, name, value)
			}
		}
		for _, column := range []string{"# pxname", "svname", "type", "mode", "status", "check_status", "addr", "algo", "check_desc", "check_rise", "check_fall", "-"} {
			if row[column] != theirs[name][column] {
				t.Errorf("%s of %s is %q, and %q at HAProxy", column, name, row[column], theirs[name][column])
			}
		}
	}
}

// haproxyCSV runs HAProxy over the nodes and returns its statistics once it has checked them.
func haproxyCSV(t *testing.T, path string, nodes []*proxytest.FakeNode) string {
	t.Helper()
	stats, dir := proxytest.FreeAddress(t), proxytest.StateDir(t)
	config := fmt.Sprintf(`
defaults
  mode tcp
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend tcp
  bind unix@%s
  default_backend nodes
backend nodes
  balance leastconn
  default-server check inter 50 rise 2 fall 2 weight 1 maxconn 1000
  server n0 %s
  server n1 %s
listen stats
  mode http
  bind %s
  stats enable
  stats show-legends
  stats uri /stats
`, filepath.Join(dir, "clients.sock"), nodes[0].Address(), nodes[1].Address(), stats)
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	return waittest.For(t, 20*time.Second, "HAProxy to have checked both nodes", func() (text string, checked bool) {
		response, err := client.Get("http://" + stats + "/stats;csv")
		if err != nil {
			return err.Error(), false
		}
		defer response.Body.Close()
		csv, err := io.ReadAll(response.Body)
		if err != nil {
			return err.Error(), false
		}
		_, rows := readCSV(t, string(csv))
		// While a check runs, its status begins with "* ", and what the one before has told is gone.
		return string(csv), rows["n0"]["check_status"] == "L4OK" && rows["n1"]["check_status"] == "L4CON" && rows["n1"]["status"] == "DOWN"
	})
}

func TestEventsShowTheFirstBans(t *testing.T) {
	b := serve(t, proxytest.StartNodes(t, 1), nil)
	const banned = 2*admin.MaxBansShown + 50
	for i := range banned { // the later, the sooner free
		if _, err := b.Ban(t.Context(), fmt.Sprintf("192.0.%d.%d", i/200, i%200), time.Hour-time.Duration(i)*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.Get("http://" + b.address("admin") + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var data string
	for lines, event := bufio.NewReader(resp.Body), ""; event != "stats" || data == ""; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		switch field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); field {
		case "event":
			event, data = value, ""
		case "data":
			data = value
		}
	}
	var s struct {
		proxy.Stats
		Bans []proxy.BanStatus
	}
	if err := json.Unmarshal([]byte(data), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Bans) != admin.MaxBansShown || s.Sources.Banned != banned {
		t.Fatalf("%d of %d bans are shown", len(s.Bans), s.Sources.Banned)
	}
	for i, ban := range s.Bans {
		if n := banned - 1 - i; ban.Source != fmt.Sprintf("192.0.%d.%d", n/200, n%200) {
			t.Fatalf("ban %d is of %s", i, ban.Source)
		}
	}
}
