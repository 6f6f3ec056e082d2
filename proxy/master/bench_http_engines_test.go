package master

import (
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// balancerEngine is the whole balancer: a master and its workers.
func balancerEngine(t testing.TB, sites []proxytest.Site, secure *proxy.TLS) *proxytest.Engine {
	address := proxytest.FreeAddress(t)
	args := []string{proxytest.StateDir(t), address, proxytest.PemFile(secure)}
	for _, s := range sites {
		args = append(args, strconv.Itoa(s.HTTP), strconv.Itoa(s.Check))
	}
	return &proxytest.Engine{Name: "erlmcp", Cookies: true, Address: address, Secure: secure != nil, Command: func() *exec.Cmd { return proxytest.PlayRole("balancer", args...) }}
}

func init() {
	proxytest.Roles["balancer"] = benchBalancer
	proxytest.Roles["reverseproxy"] = benchReverseProxy
}

// benchBalancer is the role of the master: DIR ADDRESS PEM, then the ports of each site.
func benchBalancer(args []string) error {
	spec := proxy.Default()
	spec.Listen = proxy.Listen{TCP: "127.0.0.1:0", HTTP: args[1]}
	if pair := args[2]; pair != proxytest.NoFile {
		spec.Listen.HTTP, spec.Listen.HTTPS = "", args[1]
		spec.TLS = proxy.TLS{Cert: pair, Key: pair}
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
	return serveAlone(args[0], spec, io.Discard)
}

// reverseProxyEngine is what the standard library has.
func reverseProxyEngine(t testing.TB, sites []proxytest.Site, secure *proxy.TLS) *proxytest.Engine {
	address := proxytest.FreeAddress(t)
	args := []string{address, proxytest.PemFile(secure)}
	for _, s := range sites {
		args = append(args, s.Address())
	}
	return &proxytest.Engine{Name: "ReverseProxy", Address: address, Secure: secure != nil, Command: func() *exec.Cmd { return proxytest.PlayRole("reverseproxy", args...) }}
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
	if pair := args[1]; pair != proxytest.NoFile {
		return server.ListenAndServeTLS(pair, pair)
	}
	return server.ListenAndServe()
}
