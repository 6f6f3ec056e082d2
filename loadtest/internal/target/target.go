// Package target says what clients of a load test connect to, and how they speak there.
package target

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Transport is how MCP is carried.
type Transport string

// The transports.
const (
	TCP  Transport = "tcp"  // a message a line
	HTTP Transport = "http" // Streamable HTTP
	SSE  Transport = "sse"  // HTTP with SSE, as of 2024-11-05: answers come on an event stream
	WS   Transport = "ws"   // a message a WebSocket text message
)

// Transports are all of them.
var Transports = []Transport{TCP, HTTP, SSE, WS}

// DefaultPath is where an MCP server is, if a URL does not say.
const DefaultPath = "/mcp"

// Target is an address with the way to speak there.
type Target struct {
	Transport Transport `json:"transport"`
	Secure    bool      `json:"secure,omitempty"` // within TLS
	Host      string    `json:"host"`             // a name or an address
	Port      uint16    `json:"port"`
	Path      string    `json:"path,omitempty"` // with the query; empty for TCP
}

// ports are those of URLs that do not say.
var ports = map[string]uint16{"http": 80, "https": 443, "ws": 80, "wss": 443}

// Parse reads a target: HOST:PORT or tcp://HOST:PORT, http(s)://HOST[:PORT][/PATH], where a path that ends with /sse is of
// the transport SSE, as is sse+http(s)://…, and ws(s)://HOST[:PORT][/PATH]. Without HOST, as in ":8000", it is this machine.
func Parse(text string) (t Target, err error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "tcp", text
	}
	if scheme == "tcp" {
		t = Target{Transport: TCP}
		t.Host, t.Port, err = hostPort(rest)
		if err != nil {
			return Target{}, fmt.Errorf("%q is not a target: %w", text, err)
		}
		return t, nil
	}
	legacy := false
	if s, ok := strings.CutPrefix(scheme, "sse+"); ok && strings.HasPrefix(s, "http") {
		scheme, legacy = s, true
	}
	if ports[scheme] == 0 {
		return t, fmt.Errorf("%q is not a target: it is HOST:PORT, or a URL that begins with http, https, ws or wss", text)
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil {
		return t, fmt.Errorf("%q is not a URL: %w", text, errors.Unwrap(err))
	}
	if t, err = ofURL(u); err != nil {
		return Target{}, fmt.Errorf("%q is not a target: %w", u.Redacted(), err)
	}
	if legacy {
		t.Transport = SSE
	}
	return t, nil
}

func ofURL(u *url.URL) (t Target, err error) {
	switch {
	case u.User != nil:
		return t, errors.New("it has a user name; give that as a header")
	case u.Fragment != "":
		return t, errors.New("it has a fragment (#…), which no server sees")
	case u.Hostname() == "" && u.Port() == "":
		return t, errors.New("it names no host")
	}
	t = Target{Transport: HTTP, Secure: ports[u.Scheme] == 443, Host: u.Hostname(), Port: ports[u.Scheme]}
	if t.Host == "" {
		t.Host = thisMachine
	}
	if p := u.Port(); p != "" {
		if t.Port, err = port(p); err != nil {
			return t, err
		}
	}
	if t.Path = u.EscapedPath(); t.Path == "" {
		t.Path = DefaultPath
	}
	switch {
	case strings.HasPrefix(u.Scheme, "ws"):
		t.Transport = WS
	case path.Base(t.Path) == "sse":
		t.Transport = SSE
	}
	if u.RawQuery != "" {
		t.Path += "?" + u.RawQuery
	}
	return t, nil
}

// thisMachine is the host where none is said.
const thisMachine = "127.0.0.1"

func hostPort(text string) (host string, number uint16, err error) {
	if strings.Contains(text, "/") {
		return "", 0, errors.New("it has a path, which is of a URL: http://HOST:PORT/PATH; without one it is HOST:PORT")
	}
	host, digits, err := net.SplitHostPort(text)
	if err != nil || strings.Contains(host, " ") {
		return "", 0, errors.New("it is not of the form HOST:PORT")
	}
	if host == "" {
		host = thisMachine
	}
	number, err = port(digits)
	return host, number, err
}

func port(digits string) (uint16, error) {
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("%q is not a port between 1 and 65535", digits)
	}
	return uint16(n), nil
}

// String is the target as Parse reads it.
func (t Target) String() string {
	if t.Transport == TCP {
		return t.Authority()
	}
	scheme := "http"
	if t.Transport == WS {
		scheme = "ws"
	}
	if t.Secure {
		scheme += "s"
	}
	if bare, _, _ := strings.Cut(t.Path, "?"); t.Transport == SSE && path.Base(bare) != "sse" {
		scheme = "sse+" + scheme
	}
	return scheme + "://" + t.Authority() + t.Path
}

// Authority is HOST:PORT.
func (t Target) Authority() string { return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port))) }

// Carried reports whether the transport is carried by HTTP.
func (t Target) Carried() bool { return t.Transport != TCP }

// Field is one line of a request's head.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"` // may be a secret
}

// TLS says how a server is trusted.
type TLS struct {
	ServerName string `json:"server_name,omitempty"` // empty: the host of the target
	CA         string `json:"ca,omitempty"`          // certificates in PEM, in place of those of the system
	Insecure   bool   `json:"insecure,omitempty"`    // anybody is trusted
}

// Endpoint is a target with all that a client needs to connect and be let in.
type Endpoint struct {
	Target
	Address netip.AddrPort `json:"address"` // of the target
	Header  []Field        `json:"header,omitempty"`
	TLS     TLS            `json:"tls,omitzero"`
	HTTP2   bool           `json:"http2,omitempty"`
}

// ServerName is what a server's certificate has to name.
func (e *Endpoint) ServerName() string {
	if e.TLS.ServerName != "" {
		return e.TLS.ServerName
	}
	return e.Host
}

// Trust is how clients know the server, over TLS. With an error, which is about the certificates to trust, nobody is trusted.
func (e *Endpoint) Trust() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: e.ServerName(),
		InsecureSkipVerify: e.TLS.Insecure, // #nosec G402 -- only where it was asked for
	}
	if e.TLS.CA == "" {
		return c, nil
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM([]byte(e.TLS.CA)) {
		return c, errors.New("there is no certificate in what is to be trusted")
	}
	return c, nil
}
