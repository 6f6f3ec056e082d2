package worker

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

var (
	mutants    = flag.Int("mutants", 10_000, "how many mutants TestBackendsCountAlike makes of ambiguous requests")
	mutantSeed = flag.Uint64("mutantseed", 1, "what they are drawn by")
)

// TestBackendsCountAlike sends ambiguous requests to the balancer. What it forwards goes to every server that is
// installed, with one more request behind it: both must be answered, and nothing else.
func TestBackendsCountAlike(t *testing.T) {
	requests := ambiguousRequests()
	if len(requests) < 400 {
		t.Fatalf("only %d requests", len(requests))
	}
	known := len(requests)
	n := *mutants
	if testing.Short() {
		n /= 10
	}
	t.Logf("%d requests, %d mutants by seed %d (-mutants, -mutantseed)", known, n, *mutantSeed)
	r := rand.New(rand.NewPCG(*mutantSeed, 1))
	for range n {
		requests = append(requests, mutant(r, requests[:known]))
	}
	forwarded := forwardAll(t, requests)
	t.Logf("%d different requests were forwarded", len(forwarded))
	if len(forwarded) < known/10 {
		t.Fatal("hardly anything was forwarded")
	}
	var jobs []replay
	for name, address := range startBackends(t) {
		for _, two := range []string{postLine + ofTheBody + "\r\n" + theBody + smuggled, postLine + "Content-Length: 200\r\n\r\n" + theBody} {
			if j := (replay{name, address, two, two, time.Second}); j.run() == "" {
				t.Errorf("%s: it is not noticed that %q is not one request", name, two)
			}
		}
		for request, sent := range forwarded {
			jobs = append(jobs, replay{name, address, request, sent, 20 * time.Second})
		}
	}
	inParallel(len(jobs), 8*runtime.NumCPU(), func(i int) {
		if wrong := jobs[i].run(); wrong != "" {
			t.Errorf("%s %s:\nsent      %q\nforwarded %q", jobs[i].backend, wrong, jobs[i].sent, jobs[i].request)
		}
	})
}

// inParallel calls f with every number below n, in so many goroutines.
func inParallel(n, goroutines int, f func(i int)) {
	var group sync.WaitGroup
	for g := range goroutines {
		group.Go(func() {
			for i := g; i < n; i += goroutines {
				f(i)
			}
		})
	}
	group.Wait()
}

// forwardAll has a balancer read the requests, each over a connection of its own. It returns what was forwarded, and
// what was sent for it.
func forwardAll(t *testing.T, requests []string) map[string]string {
	forwarded := make(map[string]string)
	var mu sync.Mutex
	lanes := runtime.NumCPU()
	inParallel(lanes, lanes, func(lane int) {
		node := startRecorder(t)
		b := startWorker(t, []string{node.Address()}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 0 })
		for i := lane; i < len(requests); i += lanes {
			sendOnce(t, b.Web, requests[i])
			for _, one := range node.take() {
				mu.Lock()
				forwarded[one] = requests[i]
				mu.Unlock()
			}
		}
	})
	return forwarded
}

// What comes behind a request, to the balancer and to a backend, and is the last on its connection.
const (
	endRequest  = "GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	lastRequest = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
)

// sendOnce says all that a client has to say, and waits for the end of the answers.
func sendOnce(t *testing.T, address, request string) {
	c, err := net.Dial("tcp4", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, request+endRequest) // what is refused is not read
	_ = c.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, c); isTimeout(err) {
		t.Errorf("no end of the answer to %q", request)
	}
}

// keeper is a node that keeps the requests it gets, as they are.
type keeper struct {
	*proxytest.FakeNode
	mu   sync.Mutex
	kept []string
}

func startRecorder(t *testing.T) *keeper {
	n := new(keeper)
	n.FakeNode = proxytest.StartNode(t, "", func(c *net.TCPConn) {
		var raw bytes.Buffer
		for in := bufio.NewReader(io.TeeReader(c, &raw)); ; {
			req, err := http.ReadRequest(in)
			if err != nil {
				if raw.Len() > 0 && !isEnd(err) && !isClosed(err) {
					t.Errorf("net/http does not read what was forwarded: %v: %q", err, raw.String())
				}
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return // its client has gone
			}
			size := raw.Len() - in.Buffered()
			n.mu.Lock()
			n.kept = append(n.kept, string(raw.Next(size)))
			n.mu.Unlock()
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return
			}
		}
	})
	return n
}

func isClosed(err error) bool { return errors.As(err, new(net.Error)) }

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// take returns what was kept, without the last request.
func (n *keeper) take() (requests []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, one := range n.kept {
		if !strings.HasPrefix(one, "GET /end HTTP/1.1\r\n") {
			requests = append(requests, one)
		}
	}
	n.kept = nil
	return requests
}

// replay sends a request that was forwarded, and one more, to a backend.
type replay struct {
	backend, address, request, sent string
	patience                        time.Duration
}

// run says what is wrong, "" if nothing is: two answers, the second of them to the second request, or one and no more
// to a request that was refused, after which the backend wants no other, or that was to switch protocols.
func (j *replay) run() (wrong string) {
	c, err := net.Dial("tcp4", j.address)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(j.patience))
	_, _ = io.WriteString(c, j.request+lastRequest)
	method, _, _ := strings.Cut(j.request, " ")
	in := bufio.NewReader(c)
	ends := strings.Contains(j.request, "\r\nUpgrade: ") // as a tunnel does
	for count := 0; ; {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		switch {
		case err != nil && count == 1 && ends && !isTimeout(err):
			return "" // and then it has closed, whether in order or not
		case err != nil && count == 2 && isEnd(err):
			return ""
		case err != nil:
			return fmt.Sprintf("has given %d answers, and then: %v", count, err)
		case resp.StatusCode < 200:
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if count++; count == 1 {
			ends = ends || resp.Close || resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusMethodNotAllowed || resp.StatusCode == http.StatusNotImplemented
		}
		switch last := string(body) == "/last"; {
		case err != nil:
			return fmt.Sprintf("breaks off answer %d: %v", count, err)
		case count == 1 && last:
			return "has not seen the first request"
		case count == 2 && !last:
			return fmt.Sprintf("answers %s %q to the second request", resp.Status, body)
		case count > 2:
			return "has seen more than two requests"
		}
		method = http.MethodGet
	}
}

// startBackends starts the servers that are installed. Each answers with the path it was asked for, or passes
// requests on to one that does.
func startBackends(t *testing.T) map[string]string {
	backends := make(map[string]string)
	site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, r.URL.Path)
	})
	backends["Go"] = site
	host, port, _ := net.SplitHostPort(site)
	for _, b := range []struct {
		name, program string
		start         func(program, address string)
	}{
		{"nginx", "nginx", func(string, string) {
			backends["nginx"] = startNginx(t, `http {
  upstream site { server `+site+`; keepalive 16; }
  server { listen LISTEN; location / { proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}`)
		}},
		{"HAProxy", "haproxy", func(string, string) {
			backends["HAProxy"] = startHAProxy(t, "listen all\n  mode http\n  bind LISTEN\n  http-reuse always\n  server site "+site+"\n")
		}},
		{"Varnish", "varnishd", func(program, address string) {
			vcl := proxytest.WriteFile(t, "all.vcl", "vcl 4.1;\nbackend site { .host = \""+host+"\"; .port = \""+port+"\"; }\nsub vcl_recv { return (pass); }\n")
			startFront(t, address, program, "-F", "-j", "none", "-a", address, "-f", vcl, "-n", proxytest.StateDir(t), "-s", "malloc,16m")
		}},
		{"Traffic Server", "traffic_server", func(program, address string) { startTrafficServer(t, program, address, site) }},
		{"lighttpd", "lighttpd", func(program, address string) {
			_, at, _ := net.SplitHostPort(address)
			startFront(t, address, program, "-D", "-f", proxytest.WriteFile(t, "lighttpd.conf", fmt.Sprintf(`server.modules = ("mod_proxy")
server.document-root = %q
server.bind = "127.0.0.1"
server.port = %s
proxy.server = ("" => (("host" => %q, "port" => %s)))
`, t.TempDir(), at, host, port)))
		}},
		{"Caddy", "caddy", func(program, address string) {
			_, at, _ := net.SplitHostPort(address)
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			t.Setenv("XDG_DATA_HOME", t.TempDir())
			startFront(t, address, program, "run", "--adapter", "caddyfile", "--config", proxytest.WriteFile(t, "Caddyfile", fmt.Sprintf("{\n  admin off\n  auto_https off\n  log {\n    level ERROR\n  }\n}\n:%s {\n  bind 127.0.0.1\n  reverse_proxy %s\n}\n", at, site)))
		}},
		{"Node", "node", func(program, address string) {
			_, at, _ := net.SplitHostPort(address)
			startFront(t, address, program, "-e", `require("http").createServer((q, r) => { q.resume(); q.on("end", () => r.end(q.url)) }).listen(`+at+`, "127.0.0.1")`)
		}},
		{"aiohttp", "/usr/bin/python3", func(program, address string) {
			_, at, _ := net.SplitHostPort(address)
			if exec.Command(program, "-c", "import aiohttp").Run() != nil {
				t.Log("aiohttp is not installed: left out")
				delete(backends, "aiohttp")
				return
			}
			startFront(t, address, program, "-c", `import logging
from aiohttp import web
logging.disable()
async def answer(q):
    await q.read()
    return web.Response(text=q.path)
app = web.Application()
app.router.add_route("*", "/{path:.*}", answer)
web.run_app(app, host="127.0.0.1", port=`+at+`, print=None, access_log=None)
`)
		}},
	} {
		program, err := exec.LookPath(b.program)
		if err != nil {
			t.Logf("%s is not installed: left out", b.name)
			continue
		}
		address := proxytest.FreeAddress(t)
		backends[b.name] = address
		b.start(program, address)
	}
	return backends
}

// startTrafficServer runs Apache Traffic Server out of a directory of its own.
func startTrafficServer(t *testing.T, program, address, site string) {
	dir := proxytest.StateDir(t)
	_, port, _ := net.SplitHostPort(address)
	var runroot strings.Builder
	for _, name := range []string{"prefix", "exec_prefix", "bindir", "sbindir", "sysconfdir", "datadir", "includedir", "libdir", "libexecdir", "localstatedir", "runtimedir", "logdir", "cachedir"} {
		fmt.Fprintf(&runroot, "%s: %s\n", name, dir)
	}
	for name, text := range map[string]string{
		"runroot.yaml": runroot.String(),
		"remap.config": "map / http://" + site + "/\n",
		"records.config": fmt.Sprintf(`CONFIG proxy.config.http.server_ports STRING %s:ip-in=127.0.0.1
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.http.cache.http INT 0
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.diags.output.error STRING E
CONFIG proxy.config.diags.output.warning STRING
CONFIG proxy.config.diags.output.note STRING
CONFIG proxy.config.diags.output.status STRING
`, port),
		"ip_allow.yaml":  "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n",
		"storage.config": "", "volume.config": "", "hosting.config": "", "parent.config": "", "cache.config": "", "plugin.config": "", "socks.config": "", "splitdns.config": "", "ssl_multicert.config": "",
		"sni.yaml": "", "logging.yaml": "", "strategies.yaml": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	startFront(t, address, program, "--run-root="+filepath.Join(dir, "runroot.yaml"))
}
