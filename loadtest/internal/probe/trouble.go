package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

// Trouble is why nobody can be asked at an endpoint, or not what was to be asked.
type Trouble struct {
	Blame Blame
	Text  string // what answered
	Need  string // what it takes instead; empty: MCP at the target
	Fix   string // what to do; empty: what the state of the system tells
}

// Blame is who has to do something about it.
type Blame uint8

// Those who have.
const (
	Silent  Blame = iota // the system: nobody is there, or answers
	Refuses              // the system, which says why
	Asked                // who asked: what is there is something else
)

func (t *Trouble) Error() string { return t.Text }

// Unreachable reports whether the system is to blame rather than what was asked of it.
func (t *Trouble) Unreachable() bool { return t.Blame != Asked }

func silent(err error) *Trouble {
	return &Trouble{Blame: Silent, Text: "no MCP server answers at the target: " + ask.Clean(err.Error())}
}

func silently(format string, args ...any) *Trouble { return silent(fmt.Errorf(format, args...)) }

func refuses(line []byte, cause ask.Cause) *Trouble {
	return &Trouble{Blame: Refuses, Text: fmt.Sprintf("the target refuses (%s): %s", cause, ask.Saying(line))}
}

func asked(fix, format string, args ...any) *Trouble {
	return &Trouble{Blame: Asked, Text: fmt.Sprintf(format, args...), Fix: fix}
}

// needing says what it takes.
func (t *Trouble) needing(what string) *Trouble {
	t.Need = what
	return t
}

// connectFailed reports whether there was no connection at all.
func connectFailed(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && e.Op == "dial"
}

// explain says why an answer, or an error in place of one, helps no further.
func explain(ctx context.Context, e target.Endpoint, got answer, err error) *Trouble {
	ctx, cancel := context.WithTimeoutCause(ctx, 4*patience, errLate) // for looking around
	defer cancel()
	var u *unexpected
	switch {
	case connectFailed(err):
		return silent(err)
	case e.Transport == target.TCP:
		return explainLine(ctx, e, got.line, err)
	case errors.As(err, &u):
		return explainAnswer(ctx, e, u.answer)
	case errors.Is(err, errNotGreeted):
		return explainAnswer(ctx, e, got)
	}
	if t := explainTLS(e, err); t != nil {
		return t
	}
	if t := explainForeign(ctx, e, err); t != nil {
		return t
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return closesSilently(ctx, e)
	}
	return silent(err)
}

// closesSilently is about a server that ends the connection instead of an answer.
func closesSilently(ctx context.Context, e target.Endpoint) *Trouble {
	if !e.Secure && speaksTLS(ctx, e) {
		return wantsTLS(e)
	}
	return silently("%s closes the connection without an answer", e.Address)
}

// explainLine tells what speaks where lines are expected, but said line or err.
func explainLine(ctx context.Context, e target.Endpoint, line []byte, err error) *Trouble {
	carried := e
	carried.Transport, carried.Path = target.HTTP, target.DefaultPath
	if speaksTLS(ctx, e) { // before HTTP, which some servers answer in spite of TLS, to explain themselves
		carried.Secure = true
		return asked("name its URL: "+option(lookAround(ctx, carried).Target), "%s speaks TLS", e.Address)
	}
	if bytes.HasPrefix(line, []byte("HTTP/")) || speaksHTTP(ctx, carried) {
		return asked("name its URL: "+option(lookAround(ctx, carried).Target), "%s speaks HTTP", e.Address)
	}
	switch {
	case len(line) > 0:
		return asked("name an MCP server with --target", "%s does not speak MCP: %q", e.Address, ask.Clean(string(line)))
	case err == nil, errors.Is(err, io.EOF):
		return silently("%s closes the connection without an answer", e.Address)
	}
	return silent(err)
}

// explainForeign tells what speaks where HTTP is expected, by what it said first; nil if that tells nothing.
func explainForeign(ctx context.Context, e target.Endpoint, err error) *Trouble {
	var f *foreignError
	if !errors.As(err, &f) || e.Secure {
		return nil
	}
	switch said := f.said; {
	case said[0] == '{' || said[0] == '[':
		return asked("name it by HOST:PORT: --target "+e.Authority(), "%s speaks newline-delimited JSON-RPC, not HTTP", e.Address)
	case len(said) > 1 && (said[0] == 21 || said[0] == 22) && said[1] == 3: // RFC 8446, section 5.1
		return wantsTLS(e)
	case len(said) > 3 && said[0] == 0 && said[3] == 4: // a frame SETTINGS (RFC 9113, section 6.5)
		return asked("ask in that: --http-version 2", "%s speaks HTTP/2 only", e.Address)
	case !bytes.HasPrefix(said, []byte("HTTP/")):
		if speaksTLS(ctx, e) {
			return wantsTLS(e)
		}
		return asked("name an MCP server with --target", "%s does not speak HTTP: %q", e.Address, ask.Clean(string(said)))
	}
	return nil
}

func wantsTLS(e target.Endpoint) *Trouble {
	t := e.Target
	t.Secure = true
	return asked("name it so: "+option(t), "%s speaks TLS", e.Address)
}

// explainTLS says why no TLS came about; nil if that is not the reason.
func explainTLS(e target.Endpoint, err error) *Trouble {
	var record tls.RecordHeaderError
	var alert *net.OpError
	var verification *tls.CertificateVerificationError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	switch at := e.Authority(); {
	case errors.As(err, &record):
		t := e.Target
		t.Secure = false
		return asked("name it so: "+option(t), "%s does not speak TLS", e.Address)
	case errors.As(err, &host):
		return asked("--server-name with a name that it is for, or --insecure", "the certificate of %s is not for %s, but for %s", at, host.Host, namesOf(host.Certificate)).needing("one for that name")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		text := "expired " + invalid.Cert.NotAfter.UTC().Format(time.DateOnly)
		if time.Now().Before(invalid.Cert.NotBefore) {
			text = "is not valid before " + invalid.Cert.NotBefore.UTC().Format(time.DateTime)
		}
		return &Trouble{Blame: Refuses, Text: "the certificate of " + at + " " + text, Need: "one that is valid now", Fix: "renew it, or --insecure"}
	case errors.As(err, &authority):
		return asked("--ca FILE with the certificate of who signed it, or --insecure", "the certificate of %s is of an authority that is not trusted", at).needing("one that is trusted")
	case errors.As(err, &verification):
		return asked("--ca FILE with the certificate of who signed it, or --insecure", "the certificate of %s is not trusted: %s", at, ask.Clean(verification.Err.Error())).needing("one that is trusted")
	case errors.As(err, &alert) && alert.Op == "remote error":
		text := ask.Clean(alert.Err.Error())
		if strings.Contains(text, "no application protocol") {
			other := "2"
			if e.HTTP2 {
				other = "1.1"
			}
			return asked("ask in another version: --http-version "+other, "%s does not speak this version of HTTP", at)
		}
		if strings.Contains(text, "certificate required") {
			return asked("name a server that clients need no certificate for", "%s wants a certificate of its clients, which a load test has not", at)
		}
		return asked("--server-name with the name that the server goes by", "%s refuses the TLS handshake: %s", at, text)
	}
	return nil
}

// namesOf are the first names of a certificate.
func namesOf(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	if len(names) == 0 {
		return "nobody"
	}
	return ask.Clean(strings.Join(names, ", "))
}

// refusal is why a balancer of ours let nobody in, or ask.CauseReply.
func refusal(got answer) ask.Cause {
	for _, line := range [][]byte{got.line, got.body} {
		if r, err := mcp.ParseReply(line); err == nil && r.Err != nil && ask.CauseOfCode(r.Err.Code) != ask.CauseReply {
			return ask.CauseOfCode(r.Err.Code)
		}
	}
	return ask.CauseReply
}

// explainAnswer says what a response means that is not the one that was hoped for.
func explainAnswer(ctx context.Context, e target.Endpoint, got answer) *Trouble {
	said := got.line
	if said == nil {
		said = got.body
	}
	if cause := refusal(got); cause != ask.CauseReply {
		return refuses(said, cause)
	}
	answers := Name(e.Target) + " answers " + strings.TrimSpace(fmt.Sprint(got.status, " ", http.StatusText(got.status)))
	switch s := got.status; {
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return shutOut(e, got, answers, said)
	case s/100 == 3:
		return redirects(e, got, answers)
	case s == http.StatusTooManyRequests || s >= 500:
		return &Trouble{Blame: Refuses, Text: answers + about(got.header, said), Fix: "see to the server, and what is in front of it"}
	case s == http.StatusBadRequest && !e.Secure && got.line == nil && speaksTLS(ctx, e):
		return wantsTLS(e)
	}
	if t, ok := looked(ctx, e, got.status); ok {
		return asked("name it so: "+option(t), "%s%s; there is %s at %s", answers, about(got.header, said), proseOf[t.Transport], Name(t))
	}
	switch s := got.status; {
	case s == http.StatusUpgradeRequired:
		t := e.Target
		t.Transport = target.WS
		return asked("name it so: "+option(t), "%s: it wants WebSockets", answers)
	case s == http.StatusNotFound || s == http.StatusMethodNotAllowed || s == http.StatusGone:
		return asked("name the path of its MCP endpoint: --target "+Name(withPath(e.Target, "/…")), "%s, and there is no MCP endpoint at %s either", answers, strings.Join(usualPaths, ", "))
	case mediaType(got.header) == "text/html":
		return asked("name the path of its MCP endpoint with --target", "%s with a page of HTML, not MCP", answers)
	case e.Transport == target.WS:
		return asked("name an endpoint that takes WebSockets, or another transport with --target", "%s to an upgrade to WebSocket%s", answers, about(got.header, said))
	}
	return asked("see to what it says: --header adds a field that it wants", "%s%s", answers, about(got.header, said))
}

// about is what a response says, for people.
func about(h http.Header, said []byte) string {
	kind := mediaType(h)
	switch {
	case len(bytes.TrimSpace(said)) == 0 && kind == "":
		return ""
	case kind == "text/html":
		return " with a page of HTML"
	case len(bytes.TrimSpace(said)) == 0:
		return " with " + ask.Clean(kind)
	}
	return ": " + ask.Saying(said)
}

func shutOut(e target.Endpoint, got answer, answers string, said []byte) *Trouble {
	text := answers
	if challenge := got.header.Get("Www-Authenticate"); challenge != "" {
		text += " (" + ask.Clean(challenge) + ")"
	} else {
		text += about(got.header, said)
	}
	for _, f := range e.Header {
		if strings.EqualFold(f.Name, "Authorization") {
			return asked("see to the token that is given (--token-file, --header)", "%s: what was given to be let in is refused", text).needing("a token or field that lets clients in")
		}
	}
	fix := "give what lets clients in: --token-file FILE, or --header 'NAME: VALUE'"
	if got.status == http.StatusForbidden {
		fix += "; some servers want a certain Host or Origin"
	}
	return asked(fix, "%s", text).needing("a token or field that lets clients in")
}

func redirects(e target.Endpoint, got answer, answers string) *Trouble {
	base := &url.URL{Scheme: "http", Host: e.Authority(), Path: "/"}
	if e.Secure {
		base.Scheme = "https"
	}
	to, err := base.Parse(got.header.Get("Location"))
	if err != nil || to.Host == "" {
		return asked("name where the MCP endpoint is with --target", "%s", answers)
	}
	if to.Port() == "" && to.Hostname() == e.Host && (to.Scheme == "https") == e.Secure {
		to.Host = e.Authority()
	}
	to.User, to.RawQuery, to.Fragment = nil, "", ""
	where := ask.Clean(to.String())
	return asked("name where it leads: --target "+where, "%s, which leads to %s", answers, where)
}

// proseOf are the transports in words.
var proseOf = map[target.Transport]string{
	target.TCP: "newline-delimited TCP", target.HTTP: "Streamable HTTP", target.SSE: "HTTP with SSE", target.WS: "WebSocket",
}

// Prose is a transport in words.
func Prose(t target.Transport) string { return proseOf[t] }

// Name is a target for people, without its query, in which there may be a secret.
func Name(t target.Target) string {
	if bare, _, ok := strings.Cut(t.Path, "?"); ok {
		t.Path = bare + "?…"
	}
	return t.String()
}

// option is the flag that names a target.
func option(t target.Target) string { return "--target " + Name(t) }

func withPath(t target.Target, path string) target.Target {
	t.Path = path
	return t
}

// scrubbed takes the secrets of an endpoint out of what is said about it: servers repeat what they are sent.
func scrubbed(e target.Endpoint, t *Trouble) *Trouble {
	if t != nil {
		t.Text, t.Fix = scrub(e, t.Text), scrub(e, t.Fix)
	}
	return t
}

// shortestSecret keeps words that are no secrets, such as those of X-Tenant: a, in texts.
const shortestSecret = 6

func scrub(e target.Endpoint, text string) string {
	hide := func(secret string) {
		if len(secret) >= shortestSecret {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	for _, f := range e.Header {
		hide(f.Value)
		for word := range strings.FieldsSeq(f.Value) {
			if !strings.EqualFold(word, "bearer") {
				hide(word)
			}
		}
	}
	if _, query, ok := strings.Cut(e.Path, "?"); ok {
		hide(query)
		values, _ := url.ParseQuery(query) // what can be read of it
		for _, list := range values {
			for _, v := range list {
				hide(v)
			}
		}
	}
	return text
}
