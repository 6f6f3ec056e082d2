package proxytest

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
)

// Engine is a balancer under measurement.
type Engine struct {
	Name    string
	Address string
	Command func() *exec.Cmd // nil where the program is not installed
	Cookies bool             // whether it sets them
	Secure  bool             // over TLS

	process *exec.Cmd // of this round

	Rates, CPUs, Memories []float64 // one a round
}

// URL is where it serves HTTP.
func (e *Engine) URL() string {
	scheme := "http"
	if e.Secure {
		scheme = "https"
	}
	return scheme + "://" + e.Address + "/mcp"
}

// Reach waits until every site has answered through the engine, with a cookie just where it sets them.
func (e *Engine) Reach(t testing.TB, sites []Site) {
	// #nosec G402 -- HAProxy, nginx and we are given a certificate made a moment ago.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	reached := map[string]bool{}
	_ = waittest.For(t, 20*time.Second, fmt.Sprintf("%s to reach %d nodes", e.Name, len(sites)), func() (last string, all bool) {
		resp, err := client.Get(e.URL())
		if err != nil {
			return err.Error(), false
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode == http.StatusOK {
			if sets := len(resp.Cookies()) > 0; sets != e.Cookies {
				t.Fatalf("%s sets a cookie: %v, want %v", e.Name, sets, e.Cookies)
			}
			reached[string(body)] = true
		}
		return fmt.Sprintf("%s, and %d reached", resp.Status, len(reached)), len(reached) == len(sites)
	})
}

// Relay has clients, side by side, exchange so many messages in all, and records rate and CPU of each.
func (e *Engine) Relay(t testing.TB, clients, messages int) {
	conns := e.connect(t, clients)
	before, start := e.CPU(t), time.Now()
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			message := []byte(`{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}` + "\n")
			reply := make([]byte, len(message))
			for range messages / clients {
				if _, err := c.Write(message); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.ReadFull(c, reply); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	e.Rates = append(e.Rates, float64(messages)/took.Seconds())
	e.CPUs = append(e.CPUs, (e.CPU(t)-before).Seconds()/float64(messages))
	for _, c := range conns {
		c.Close()
	}
}

// Hold has n idle connections that have spoken once, and records what each adds to the memory of the process.
func (e *Engine) Hold(t testing.TB, n int) {
	before := e.rss(t)
	conns := e.connect(t, n)
	e.Memories = append(e.Memories, float64(e.rss(t)-before)/float64(n))
	for _, c := range conns {
		c.Close()
	}
}

// connect opens n connections and has an answer over each.
func (e *Engine) connect(t testing.TB, n int) []net.Conn {
	conns := make([]net.Conn, n)
	for i := range conns {
		// A hundred to a source, as the limits of a balancer allow.
		from := &net.TCPAddr{IP: net.IPv4(127, 3, byte(i/100), 1)}
		c, err := (&net.Dialer{LocalAddr: from}).Dial("tcp4", e.Address)
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if _, err := io.WriteString(c, "x\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Fatalf("%s: connection %d: %v", e.Name, i, err)
		}
		conns[i] = c
	}
	return conns
}

// CPU is the time the process and its children have used.
func (e *Engine) CPU(t testing.TB) time.Duration {
	pid := strconv.Itoa(e.process.Process.Pid)
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	ticks, found := 0, false
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // somebody else's, and gone
		}
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
		own := filepath.Base(filepath.Dir(file)) == pid
		if parent := fields[1]; !own && parent != pid {
			continue
		}
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		ticks, found = ticks+user+system, found || own
	}
	if !found {
		t.Fatalf("%s has ended", e.Name)
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
}

func (e *Engine) rss(t testing.TB) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", e.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(data))[1])
	return pages * os.Getpagesize()
}

// Start runs the engine and waits until it listens.
func (e *Engine) Start(t testing.TB) {
	e.process = e.Command()
	e.process.Stderr = os.Stderr
	if err := e.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	_ = waittest.For(t, 20*time.Second, e.Name+" to listen", func() (error, bool) {
		c, err := net.Dial("tcp4", e.Address)
		if err == nil {
			c.Close()
		}
		return err, err == nil
	})
}

// Stop ends the process of this round, if there still is one. It is asked first, so that it can end
// its children.
func (e *Engine) Stop() {
	if e.process == nil {
		return
	}
	process := e.process.Process
	_ = process.Signal(syscall.SIGTERM)
	impatient := time.AfterFunc(5*time.Second, func() { _ = process.Kill() })
	_ = e.process.Wait()
	impatient.Stop()
	e.process = nil
}

// NoFile stands in the arguments of a role for a file that there is not.
const NoFile = "-"

// Median is the middle one of v, of an even number the greater of two.
func Median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// PemFile is the file in which an engine finds certificate and key; NoFile for one that speaks no TLS.
func PemFile(secure *proxy.TLS) string {
	if secure == nil {
		return NoFile
	}
	return secure.Cert
}

// HAProxy is the command of HAProxy with a configuration, or nil where it is not installed.
func HAProxy(t testing.TB, config string) func() *exec.Cmd {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		t.Log("haproxy is not installed: left out")
		return nil
	}
	file := WriteFile(t, "haproxy.cfg", config)
	return func() *exec.Cmd { return exec.Command(path, "-db", "-f", file) }
}

// Nginx is the command of nginx with a configuration, whose files are in a directory of their own; or nil where it is not
// installed.
func Nginx(t testing.TB, config string) func() *exec.Cmd {
	path, err := exec.LookPath("nginx")
	if err != nil {
		t.Log("nginx is not installed: left out")
		return nil
	}
	dir, file := t.TempDir(), WriteFile(t, "nginx.conf", config)
	return func() *exec.Cmd { return exec.Command(path, "-p", dir, "-c", file) }
}

// NginxStream is Nginx for a configuration that balances TCP, and nil also where it cannot do that.
func NginxStream(t testing.TB, config string) func() *exec.Cmd {
	const module = "/usr/lib/nginx/modules/ngx_stream_module.so"
	if _, err := os.Stat(module); err == nil {
		config = "load_module " + module + ";\n" + config
	}
	command := Nginx(t, config)
	if command == nil {
		return nil
	}
	check := command()
	check.Args = append(check.Args, "-t")
	if out, err := check.CombinedOutput(); err != nil {
		t.Logf("nginx cannot balance TCP: left out: %s", out)
		return nil
	}
	return command
}

// NginxPaths has nginx keep what it puts aside of HTTP in its own directory.
const NginxPaths = `  client_body_temp_path client_body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
`

// HAProxyHTTPEngine is HAProxy in front of sites, over TLS unless secure is nil. Where it is not installed it has no Command.
func HAProxyHTTPEngine(t testing.TB, sites []Site, secure *proxy.TLS) *Engine {
	address, bind := FreeAddress(t), ""
	if secure != nil {
		bind = " ssl crt " + secure.Cert
	}
	var servers strings.Builder
	for i, s := range sites {
		fmt.Fprintf(&servers, "  server n%d %s cookie n%d\n", i, s.Address(), i)
	}
	command := HAProxy(t, fmt.Sprintf(`global
  nbthread %d
  maxconn 9000
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 300s
  timeout server 300s
frontend clients
  bind %s%s
  stick-table type ip size 128k expire 30m store conn_rate(1s),conn_cur,http_req_rate(1s)
  tcp-request connection track-sc0 src
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }
  default_backend nodes
backend nodes
  balance leastconn
  cookie SERVERID insert indirect nocache httponly
%s`, runtime.NumCPU(), address, bind, &servers))
	return &Engine{Name: "haproxy", Cookies: true, Address: address, Secure: secure != nil, Command: command}
}

// NginxHTTPEngine is nginx in front of sites, likewise.
func NginxHTTPEngine(t testing.TB, sites []Site, secure *proxy.TLS) *Engine {
	address := FreeAddress(t)
	listen := address + ";"
	if secure != nil {
		listen = fmt.Sprintf("%s ssl;\n    ssl_certificate %s;\n    ssl_certificate_key %s;", address, secure.Cert, secure.Key)
	}
	var servers strings.Builder
	for _, s := range sites {
		fmt.Fprintf(&servers, "    server %s;\n", s.Address())
	}
	command := Nginx(t, fmt.Sprintf(`daemon off;
worker_processes %d;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
%s  access_log off;
  limit_req_zone $binary_remote_addr zone=rates:10m rate=1000000r/s;
  upstream nodes {
    least_conn;
%s    keepalive 1000;
    keepalive_requests 1000000000;
  }
  server {
    listen %s
    keepalive_requests 1000000000;
    location / {
      limit_req zone=rates burst=1000000 nodelay;
      proxy_pass http://nodes;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
}
`, runtime.NumCPU(), NginxPaths, &servers, listen))
	return &Engine{Name: "nginx", Address: address, Secure: secure != nil, Command: command}
}
