package loadtest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

// targetError says why nobody can be asked at the target.
type targetError struct {
	kind targetKind
	text string
}

type targetKind uint8

const (
	targetSilent  targetKind = iota // nobody is there, or answers
	targetRefuses                   // a balancer or server explains why not
	targetHTTP
	targetTLS
	targetForeign // it says something else
)

func (e *targetError) Error() string {
	if e.kind == targetSilent {
		return "no MCP server answers at the target: " + e.text
	}
	return e.text
}

// unreachable reports whether the system is to blame rather than the plan.
func (e *targetError) unreachable() bool { return e.kind == targetSilent || e.kind == targetRefuses }

// fix is what can be done, as far as the state of the system tells.
func (e *targetError) fix(o *Observation) string {
	const noHTTP = "the load test speaks newline-delimited JSON-RPC over TCP only: "
	tcp, others := "", len(o.Elsewhere)
	for _, l := range o.Elsewhere {
		if name, address, _ := strings.Cut(l, " "); name == "tcp" {
			tcp = address
		}
	}
	none := "give the balancer a TCP listener (lb.listen.tcp) and its nodes TCP ports"
	switch {
	case e.kind == targetRefuses && o.Balancer != nil:
		return "erlmcp lb status shows the nodes, erlmcp lb ban list who is shut out"
	case e.kind == targetRefuses:
		return "see to what it says, or name another --target"
	case o.Balancer != nil:
		return "the balancer runs: erlmcp health tells what is wrong"
	case tcp != "":
		return fmt.Sprintf("the balancer that runs takes TCP clients at %s: --target %s", tcp, tcp)
	case others > 0:
		return noHTTP + "the balancer that runs has no TCP listener (it has " + strings.Join(o.Elsewhere, ", ") + "); " + none
	case e.kind != targetSilent:
		return noHTTP + "name a TCP listener (--target), or " + none
	}
	return "start the system (erlmcp up), let the load test start it (--up), or name another --target"
}

// questionPatience is how long a target may take for the answer to one question.
const questionPatience = 3 * time.Second

// introduce finds out who answers at the target, and which question.
func (f *facts) introduce(ctx context.Context) *targetError {
	var last *targetError
	for _, q := range []ask.Question{ask.Whoami, ask.Discover, ask.Ping} {
		limited, cancel := context.WithTimeoutCause(ctx, questionPatience, fmt.Errorf("no answer within %s", questionPatience))
		r, line, err := converse(limited, f.target, netip.Addr{}, q, 1, nil)
		cancel()
		switch {
		case ctx.Err() != nil:
			return &targetError{targetSilent, context.Cause(ctx).Error()}
		case err != nil && connectFailed(err):
			return &targetError{targetSilent, err.Error()}
		case err != nil || r.Kind == ask.ReplyOther:
			if last == nil {
				if last = foreign(ctx, f.target, line, err); last.kind != targetSilent {
					return last
				}
				f.nameless = "no answer to tools/call " + string(ask.Whoami)
			}
		case r.Kind == ask.ReplyRefusal, r.Kind == ask.ReplyError && ask.CauseOfCode(r.Code) != ask.CauseReply:
			last = &targetError{targetRefuses, fmt.Sprintf("the target refuses (%s): %s", ask.CauseOfCode(r.Code), ask.Saying(line))}
			if ask.CauseOfCode(r.Code) != ask.CauseReply {
				return last
			}
		case r.Kind == ask.ReplyError: // whoami only
			f.nameless = fmt.Sprintf("tools/call %s is answered %q", ask.Whoami, ask.Saying(line))
			last = &targetError{targetRefuses, "the target answers nothing but: " + ask.Saying(line)}
		case q == ask.Discover && r.Code == mcp.CodeMethodNotFound: // of the session era
		default:
			f.targetNode, f.question = string(r.Node), q
			if q.Names() {
				f.nameless = ""
			}
			return nil
		}
	}
	return last
}

// connectFailed reports whether there was no connection at all.
func connectFailed(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && e.Op == "dial"
}

// foreign tells what speaks at a target that does not answer as MCP over TCP does, but with line or err.
func foreign(ctx context.Context, target netip.AddrPort, line []byte, err error) *targetError {
	switch {
	case isHTTP(line):
		return &targetError{targetHTTP, target.String() + " speaks HTTP"}
	case speaksTLS(ctx, target): // before HTTP, which some servers answer in spite of TLS, to explain themselves
		return &targetError{targetTLS, target.String() + " speaks TLS"}
	case speaksHTTP(ctx, target):
		return &targetError{targetHTTP, target.String() + " speaks HTTP"}
	}
	switch {
	case len(line) > 0:
		return &targetError{targetForeign, fmt.Sprintf("%s does not speak MCP: %q", target, ask.Clean(string(line)))}
	case errors.Is(err, io.EOF):
		return &targetError{targetSilent, target.String() + " closes the connection without an answer"}
	}
	return &targetError{targetSilent, err.Error()}
}

func isHTTP(line []byte) bool { return strings.HasPrefix(string(line), "HTTP/") }

// speaksTLS begins a handshake. That the certificate is not trusted is an answer too.
func speaksTLS(ctx context.Context, target netip.AddrPort) bool {
	ctx, cancel := context.WithTimeout(ctx, questionPatience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: &tls.Config{ServerName: target.Addr().String()}}).DialContext(ctx, "tcp", target.String())
	if err == nil {
		conn.Close()
		return true
	}
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	return errors.As(err, &untrusted) || errors.As(err, &alert)
}

// speaksHTTP asks in the way of HTTP: some servers say nothing to what is not.
func speaksHTTP(ctx context.Context, target netip.AddrPort) bool {
	ctx, cancel := context.WithTimeout(ctx, questionPatience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target.String())
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target)
	begin := make([]byte, len("HTTP/"))
	_, err = io.ReadFull(conn, begin)
	return err == nil && isHTTP(begin)
}
