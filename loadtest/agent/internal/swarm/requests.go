package swarm

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// requests writes requests over HTTP.
type requests struct {
	path    string
	common  string // fields of all of them
	given   []string
	version string // of the protocol, once it is known
}

func newRequests(e *target.Endpoint) *requests {
	r := &requests{path: e.Path}
	for _, f := range e.Header {
		r.given = append(r.given, strings.ToLower(f.Name))
	}
	var b strings.Builder
	if !slices.Contains(r.given, "host") {
		b.WriteString("Host: " + host(&e.Target) + "\r\n")
	}
	for _, f := range e.Header {
		b.WriteString(f.Name + ": " + f.Value + "\r\n")
	}
	r.common = b.String()
	return r
}

// host is the authority of a target, without its port where that goes without saying.
func host(t *target.Target) string {
	a := t.Authority()
	if t.Port == 443 && t.Secure || t.Port == 80 && !t.Secure {
		return strings.TrimSuffix(a, ":"+strconv.Itoa(int(t.Port)))
	}
	return a
}

// checkHeader refuses fields that would be more than one line. It does not say what is in them.
func checkHeader(fields []target.Field) error {
	for _, f := range fields {
		if f.Name == "" || strings.ContainsAny(f.Name, "\r\n: ") || strings.ContainsAny(f.Value, "\r\n\x00") {
			return fmt.Errorf("%q is not a field of a request, or its value is more than a line", f.Name)
		}
	}
	return nil
}

// appendHead appends a request up to its own fields.
func (r *requests) appendHead(dst []byte, method, path string) []byte {
	dst = append(append(append(append(dst, method...), ' '), path...), " HTTP/1.1\r\n"...)
	return append(dst, r.common...)
}

// appendField appends a field, unless the user has given it.
func (r *requests) appendField(dst []byte, name, value string) []byte {
	if value == "" || len(r.given) > 0 && slices.Contains(r.given, strings.ToLower(name)) {
		return dst
	}
	return append(append(append(append(dst, name...), ": "...), value...), "\r\n"...)
}

// appendPost appends a request with a message, which may end in LF.
func (r *requests) appendPost(dst []byte, path, session string, about work.Request, message []byte) []byte {
	if n := len(message); n > 0 && message[n-1] == '\n' {
		message = message[:n-1]
	}
	dst = r.appendHead(dst, http.MethodPost, path)
	dst = r.appendField(dst, "Content-Type", "application/json")
	dst = r.appendField(dst, "Accept", "application/json, text/event-stream")
	dst = r.appendField(dst, mcp.HeaderProtocolVersion, r.version)
	dst = r.appendField(dst, mcp.HeaderSessionID, session)
	if about.Method != "" {
		dst = r.appendField(dst, mcp.HeaderMethod, about.Method)
		dst = r.appendField(dst, mcp.HeaderName, about.HeaderName())
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(message)), 10)
	return append(append(dst, "\r\n\r\n"...), message...)
}

// appendBare appends a request without a body.
func (r *requests) appendBare(dst []byte, method, session string) []byte {
	dst = r.appendHead(dst, method, r.path)
	if method == http.MethodGet {
		dst = r.appendField(dst, "Accept", "text/event-stream")
	}
	dst = r.appendField(dst, mcp.HeaderProtocolVersion, r.version)
	dst = r.appendField(dst, mcp.HeaderSessionID, session)
	return append(dst, "\r\n"...)
}

// initialization is the step of an initialize, beside those of the script.
const initialization = work.Verification + 1

// resolve is where a server wants messages: a reference (RFC 3986 section 4.2) to the same server, relative to path.
func resolve(e *target.Target, path string, reference []byte) (string, bool) {
	scheme := "http"
	if e.Secure {
		scheme = "https"
	}
	u, err := url.Parse(scheme + "://" + e.Authority() + path)
	if err != nil || len(reference) > http1.MaxRequestLine/2 {
		return "", false
	}
	to, err := u.Parse(string(reference))
	if err != nil || to.Scheme != "http" && to.Scheme != "https" {
		return "", false
	}
	// Behind a balancer the server knows another name of itself than the client; it is the same server all the same.
	return to.RequestURI(), true
}
