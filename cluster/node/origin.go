package node

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// sameOrigin refuses what a web page from elsewhere has its browser send (MCP, Transports, Security):
// a request may come without an Origin, which is not from a browser or does nothing but read; from a page
// on this machine; or from one that the node's own host has served.
//
// The Host of a request says nothing here: behind a balancer it is the balancer's public name, and after
// DNS rebinding it is the attacker's. That is why the check of the SDK, which compares Host with the
// address that was connected to, is switched off.
func sameOrigin(host string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, origin := range r.Header.Values("Origin") {
			if !allowedOrigin(origin, host) {
				refuse(w, http.StatusForbidden, mcp.CodeInvalidRequest, "requests of pages from elsewhere are not allowed")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func allowedOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return false
	}
	name := strings.ToLower(u.Hostname())
	if name == "localhost" || name != "" && name == strings.ToLower(host) {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback()
}

// refuse answers a request with a JSON-RPC error of no request in particular.
func refuse(w http.ResponseWriter, status, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(mcp.AppendError(nil, nil, code, text)) // who does not wait for the answer does not get it
}
