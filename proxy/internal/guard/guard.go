// Package guard protects an HTTP listener that is meant for operators against web pages of others
// that an operator's browser happens to show: against rebound host names, requests across origins,
// and commands without a token.
package guard

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/erlmcp/erlmcp/internal/control"
)

// Hosts passes on requests whose Host is an IP address, a name of loopback, or one of names, and
// answers 403 to others: a foreign page can have its own name resolve to this machine and then
// passes for same-origin, but it cannot do so with an address. names is asked for every request.
func Hosts(names func() []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allowed(r.Host, names()) {
			control.Fail(w, &control.Error{
				Status:  http.StatusForbidden,
				Code:    "host",
				Message: fmt.Sprintf("nothing is served here for the host %q", r.Host),
				Advice:  "use an IP address or localhost, or add the name to lb.admin.hosts",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// LoopbackHosts is Hosts for who comes to a loopback address: what is open to others anyway need not be kept from
// foreign pages, and is asked for by whatever name its network gives it.
func LoopbackHosts(names func() []string, next http.Handler) http.Handler {
	guarded := Hosts(names, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && at.IP.IsLoopback() {
			guarded.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowed judges a Host header. Without one (HTTP/1.0) no browser asks.
func allowed(host string, names []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(host, ".")
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "" {
		return true
	}
	names = append([]string{"localhost"}, names...)
	for _, name := range names {
		if strings.EqualFold(host, strings.TrimSuffix(name, ".")) {
			return true
		}
	}
	return false
}

// SameOrigin answers 403 to requests that change something and come from a page of another origin,
// by Sec-Fetch-Site, or by Origin where a browser does not send that.
func SameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := protection.Check(r); err != nil {
			control.Fail(w, &control.Error{Status: http.StatusForbidden, Code: "origin", Message: err.Error()})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Token is a secret of 128 bits that a person can copy.
type Token string

// NewToken draws a token.
func NewToken() Token { return Token(rand.Text()) }

// Require answers 401 to requests without "Authorization: Bearer" and the token.
func (t Token) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if t == "" || !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare([]byte(given), []byte(t)) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="erlmcp lb"`)
			control.Fail(w, &control.Error{
				Status:  http.StatusUnauthorized,
				Code:    "token",
				Message: "this needs the admin token",
				Advice:  "erlmcp lb token prints it",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}
