package worker

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
	"github.com/erlmcp/erlmcp/proxy/worker/internal/hubtest"
)

// Proxies as people have them in front of the balancer.

// startFront runs a program until the test ends; it is up when it listens on address.
func startFront(t *testing.T, address, program string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var exit error
	ended := make(chan struct{})
	go func() {
		exit = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	_ = waittest.For(t, 20*time.Second, program+" to listen", func() (error, bool) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 4, 1)}}
		conn, err := d.Dial("tcp4", address)
		if err == nil {
			conn.Close()
			return nil, true
		}
		select {
		case <-ended:
			t.Fatalf("%s has ended: %v", program, exit)
		default:
		}
		return err, false
	})
}

// startNginx runs nginx with a configuration, in which LISTEN stands for the address it is given.
func startNginx(t *testing.T, config string) (address string) {
	t.Helper()
	address, dir := proxytest.FreeAddress(t), t.TempDir()
	const stream = "/usr/lib/nginx/modules/ngx_stream_module.so" // where it is not built in
	module := ""
	if _, err := os.Stat(stream); err == nil && strings.Contains(config, "stream {") {
		module = "load_module " + stream + ";\n"
	}
	var temporary strings.Builder
	for _, use := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "%s_temp_path %s/%s;\n", use, dir, use)
	}
	text := module + "daemon off;\nmaster_process off;\npid " + dir + "/nginx.pid;\nerror_log stderr crit;\nevents { worker_connections 2048; }\n" +
		strings.NewReplacer("LISTEN", address, "http {", "http {\naccess_log off;\n"+temporary.String()).Replace(config)
	startFront(t, address, "nginx", "-p", dir, "-c", proxytest.WriteFile(t, "nginx.conf", text))
	return address
}

// startHAProxy runs HAProxy likewise.
func startHAProxy(t *testing.T, config string) (address string) {
	t.Helper()
	address = proxytest.FreeAddress(t)
	const head = "global\n  maxconn 1000\n  nbthread 1\ndefaults\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n"
	startFront(t, address, "haproxy", "-db", "-f", proxytest.WriteFile(t, "haproxy.cfg", head+strings.ReplaceAll(config, "LISTEN", address)))
	return address
}

// httpFronts are the usual ways to pass requests on. BALANCER stands for our address.
var httpFronts = map[string]func(*testing.T, string) string{
	"nginx": func(t *testing.T, balancer string) string {
		return startNginx(t, `http {
  upstream balancer { server `+balancer+`; keepalive 16; }
  server {
    listen LISTEN;
    location / {
      proxy_pass http://balancer;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-Host $http_host;
    }
  }
}
`)
	},
	"haproxy": func(t *testing.T, balancer string) string {
		return startHAProxy(t, `listen front
  mode http
  bind LISTEN
  option forwardfor
  http-reuse always
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  server balancer `+balancer+`
`)
	},
}

// visitFrom asks for the root from an address of its own.
func visitFrom(t *testing.T, address, from, forged string) (status int, body string) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	transport := &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}
	web := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/mcp", nil)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	r.Host = "mcp.example"
	if forged != "" {
		r.Header.Set("X-Forwarded-For", forged)
		r.Header.Set("X-Real-IP", forged)
		r.Header.Set("Forwarded", "for="+forged)
	}
	resp, err := web.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(text)
}

func userAddress(i int) string { return fmt.Sprintf("127.1.%d.%d", i/200, i%200+1) }

// Four hundred users behind one proxy, which has an address, are four hundred sources.
func TestUsersBehindAProxy(t *testing.T) {
	hubtest.NeedsLoopback(t)
	for name, start := range httpFronts {
		t.Run(name, func(t *testing.T) {
			site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
				h := r.Header
				fmt.Fprint(w, h["X-Forwarded-For"], h["X-Forwarded-Proto"], h["X-Forwarded-Host"], h["X-Real-Ip"], h["Forwarded"])
			})
			b := startWorker(t, []string{site}, func(s *proxy.Spec) {
				s.TrustedProxies = []string{"127.0.0.1"}
				s.Limits.MessagesPerSecond, s.Limits.ConnectionsPerSecond = 1, 1
				s.Limits.Action, s.Limits.Ban.Violations = proxy.ActionReject, 0
			})
			front := start(t, b.Web)
			const users = 400
			var asking sync.WaitGroup
			for i := range users {
				asking.Go(func() {
					from := userAddress(i)
					want := fmt.Sprintf("[%s, 127.0.0.1] [https] [mcp.example] [%s] []", from, from)
					if status, got := visitFrom(t, front, from, "10.0.0.5"); status != http.StatusOK || !sameOrigin(got, want) {
						t.Errorf("user %s: %d, the node was told %s", from, status, got)
					}
				})
			}
			asking.Wait()

			// One of them does too much, and alone has to wait.
			refused := 0
			for range 60 {
				if status, _ := visitFrom(t, front, userAddress(0), ""); status == http.StatusTooManyRequests {
					refused++
				}
			}
			if refused == 0 {
				t.Error("a user over the rate is not refused")
			}
			if status, _ := visitFrom(t, front, userAddress(users), ""); status != http.StatusOK {
				t.Errorf("another user gets %d", status)
			}
			b.On(func() {
				for source := range b.Board.Sources().Banned(b.Loop.Now()) {
					t.Errorf("slot %d is banned", source)
				}
			})

			// Who is not the proxy is believed nothing.
			const stranger = "127.0.3.1"
			want := fmt.Sprintf("[%s] [http] [mcp.example] [%s] []", stranger, stranger)
			if status, got := visitFrom(t, b.Web, stranger, "10.0.0.5"); status != http.StatusOK || got != want {
				t.Errorf("a stranger: %d, the node was told %s, want %s", status, got, want)
			}
		})
	}
}

// sameOrigin compares what a node was told; Forwarded, which our proxies let pass, is rewritten.
func sameOrigin(got, want string) bool {
	client, _, _ := strings.Cut(strings.TrimPrefix(want, "["), ",")
	return got == strings.TrimSuffix(want, "[]")+fmt.Sprintf(`[for=%s;proto=https;host="mcp.example", for=127.0.0.1]`, client)
}

// The users of proxies that pass connections on, by PROXY protocol: version 1 of nginx, version 2 of HAProxy.
func TestUsersByPROXYProtocol(t *testing.T) {
	hubtest.NeedsLoopback(t)
	for name, start := range map[string]func(*testing.T, string) string{
		"nginx": func(t *testing.T, balancer string) string {
			return startNginx(t, "stream {\n  server { listen LISTEN; proxy_pass "+balancer+"; proxy_protocol on; }\n}\n")
		},
		"haproxy": func(t *testing.T, balancer string) string {
			return startHAProxy(t, "listen front\n  mode tcp\n  bind LISTEN\n  server balancer "+balancer+" send-proxy-v2 check inter 50ms\n")
		},
		"haproxy version 1": func(t *testing.T, balancer string) string {
			return startHAProxy(t, "listen front\n  mode tcp\n  bind LISTEN\n  server balancer "+balancer+" send-proxy check inter 50ms\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(s *proxy.Spec) { s.ProxyProtocol.AcceptFrom, s.Limits.MaxPerSource = []string{"127.0.0.1"}, 1 }
			site := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header["X-Forwarded-For"]) })
			web := startWorker(t, []string{site}, change)
			raw := startWorker(t, []string{proxytest.StartNode(t, "a", nil).Address()}, change)
			webFront, rawFront := start(t, web.Web), start(t, raw.Address)
			for i := range 20 {
				from := userAddress(i)
				if status, got := visitFrom(t, webFront, from, "10.0.0.5"); status != http.StatusOK || got != "["+from+"]" {
					t.Errorf("user %s: %d, the node was told %s", from, status, got)
				}
				c := raw.DialTo(rawFront, from)
				c.Say("hi\n")
				if got := c.Hear(); got != "a:hi" {
					t.Error(got)
				}
				if id, ok := raw.Board.Sources().Lookup(netip.MustParseAddr(from)); !ok || raw.Board.Sources().Live(id) != 1 {
					t.Errorf("%s is not known", from)
				}
			}
			if strings.HasPrefix(name, "haproxy") { // its checks are connections of its own
				raw.Eventually("a check", func() bool {
					_, ok := raw.Board.Sources().Lookup(netip.MustParseAddr("127.0.0.1"))
					return ok
				})
			}
		})
	}
}
