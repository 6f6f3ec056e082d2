package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/internal/topology"
)

// balancerEngine is the whole balancer: a master and its workers.
func balancerEngine(t testing.TB, sites []site, secure *TLS) *engine {
	address := freeAddress(t)
	args := []string{stateDir(t), address, pemFile(secure)}
	for _, s := range sites {
		args = append(args, strconv.Itoa(s.http), strconv.Itoa(s.check))
	}
	return &engine{name: "erlmcp", cookies: true, address: address, secure: secure != nil, command: func() *exec.Cmd { return playRole("balancer", args...) }}
}

// noFile stands for a file that is not there in the arguments of a role, which may not be empty.
const noFile = "-"

func pemFile(secure *TLS) string {
	if secure == nil {
		return noFile
	}
	return secure.Cert
}

func init() {
	benchRoles["balancer"] = benchBalancer
	benchRoles["reverseproxy"] = benchReverseProxy
}

// benchBalancer is the role of the master: DIR ADDRESS PEM, then the ports of each site.
func benchBalancer(args []string) error {
	spec := Default()
	spec.Listen = Listen{TCP: "127.0.0.1:0", HTTP: args[1]}
	if pair := args[2]; pair != noFile {
		spec.Listen.HTTP, spec.Listen.HTTPS = "", args[1]
		spec.TLS = TLS{Cert: pair, Key: pair}
	}
	for ports := args[3:]; len(ports) > 0; ports = ports[2:] {
		n := topology.Node{Name: fmt.Sprintf("n%d", len(spec.Nodes)), Host: "127.0.0.1"}
		var errs [2]error
		n.HTTP, errs[0] = strconv.Atoi(ports[0])
		n.TCP, errs[1] = strconv.Atoi(ports[1])
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		spec.Nodes = append(spec.Nodes, n)
	}
	spec.Workers = runtime.NumCPU()
	spec.MaxConnections = 2_000
	spec.HTTP.KeepaliveRequests = 0              // as the others
	spec.Limits.MessagesPerSecond = 1_000_000    // tracked, never reached
	spec.Limits.ConnectionsPerSecond = 1_000_000 // likewise
	spec.Checks.Kind = "tcp"
	spec.SlowStart = 0
	spec.Timeouts.Drain = 0
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return Serve(ctx, spec, Options{StateDir: args[0], Version: "bench", Log: log.New(io.Discard)})
}

// reverseProxyEngine is what the standard library has.
func reverseProxyEngine(t testing.TB, sites []site, secure *TLS) *engine {
	address := freeAddress(t)
	args := []string{address, pemFile(secure)}
	for _, s := range sites {
		args = append(args, s.address())
	}
	return &engine{name: "ReverseProxy", address: address, secure: secure != nil, command: func() *exec.Cmd { return playRole("reverseproxy", args...) }}
}

// benchReverseProxy is its role: ADDRESS PEM, then those of the sites, which it takes in turn.
func benchReverseProxy(args []string) error {
	var targets []*url.URL
	for _, host := range args[2:] {
		targets = append(targets, &url.URL{Scheme: "http", Host: host})
	}
	var turn atomic.Uint64
	quiet := stdlog.New(io.Discard, "", 0)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(targets[turn.Add(1)%uint64(len(targets))])
			r.SetXForwarded()
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 1_000},
		ErrorLog:  quiet, // wrk ends its connections in the midst of requests
	}
	// HTTP/1.1 as the others, which wrk speaks.
	server := &http.Server{Addr: args[0], Handler: proxy, ErrorLog: quiet}
	if pair := args[1]; pair != noFile {
		return server.ListenAndServeTLS(pair, pair)
	}
	return server.ListenAndServe()
}

func haproxyHTTPEngine(t testing.TB, sites []site, secure *TLS) *engine {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		t.Log("haproxy is not installed: left out")
		return nil
	}
	address, bind := freeAddress(t), ""
	if secure != nil {
		bind = " ssl crt " + secure.Cert
	}
	var servers strings.Builder
	for i, s := range sites {
		fmt.Fprintf(&servers, "  server n%d %s cookie n%d\n", i, s.address(), i)
	}
	config := write(t, "haproxy.cfg", fmt.Sprintf(`global
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
	return &engine{name: "haproxy", cookies: true, address: address, secure: secure != nil, command: func() *exec.Cmd { return exec.Command(path, "-db", "-f", config) }}
}

func nginxHTTPEngine(t testing.TB, sites []site, secure *TLS) *engine {
	path, err := exec.LookPath("nginx")
	if err != nil {
		t.Log("nginx is not installed: left out")
		return nil
	}
	address, dir := freeAddress(t), t.TempDir()
	listen := address + ";"
	if secure != nil {
		listen = fmt.Sprintf("%s ssl;\n    ssl_certificate %s;\n    ssl_certificate_key %s;", address, secure.Cert, secure.Key)
	}
	var servers, temporary strings.Builder
	for _, s := range sites {
		fmt.Fprintf(&servers, "    server %s;\n", s.address())
	}
	for _, use := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "  %s_temp_path %s/%s;\n", use, dir, use)
	}
	config := write(t, "nginx.conf", fmt.Sprintf(`daemon off;
worker_processes %d;
pid %s/nginx.pid;
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
`, runtime.NumCPU(), dir, &temporary, &servers, listen))
	return &engine{name: "nginx", address: address, secure: secure != nil, command: func() *exec.Cmd { return exec.Command(path, "-p", dir, "-c", config) }}
}
