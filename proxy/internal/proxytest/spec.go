package proxytest

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
)

// WithoutLimits lets a source send as many messages as it can, and a connection carry as many requests.
func WithoutLimits(s *proxy.Spec) {
	s.Limits.MessagesPerSecond, s.HTTP.KeepaliveRequests = 1_000_000, 0
}

// WithSites gives the nodes HTTP ports, at which each answers with its name, or under /stream with a stream that does not
// end, and the balancer a listener for HTTP. change, if not nil, comes after that.
func WithSites(t testing.TB, change func(*proxy.Spec)) func(*proxy.Spec) {
	return func(s *proxy.Spec) {
		s.Listen.HTTP = "127.0.0.1:0"
		for i := range s.Nodes {
			name := s.Nodes[i].Name
			at := StartSite(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/stream" {
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
					return
				}
				fmt.Fprint(w, name)
			})
			s.Nodes[i].HTTP, _ = strconv.Atoi(at[strings.LastIndexByte(at, ':')+1:])
		}
		if change != nil {
			change(s)
		}
	}
}

// WithTLS has https listened on, with the pair that PutPair has put into dir, and messages not limited. change, if not nil,
// comes after that.
func WithTLS(dir string, change func(*proxy.Spec)) func(*proxy.Spec) {
	return func(s *proxy.Spec) {
		s.Listen.HTTPS = "127.0.0.1:0"
		s.TLS = proxy.TLS{Cert: filepath.Join(dir, "live", "lb.crt"), Key: filepath.Join(dir, "live", "lb.key")}
		s.Limits.MessagesPerSecond = 0
		if change != nil {
			change(s)
		}
	}
}
