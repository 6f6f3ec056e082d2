// Package probe finds out, before a load test begins, who answers at an endpoint and how clients are to speak there, and says
// in one line what is in the way. It asks a few questions over ordinary sockets; whatever a server answers is read within
// bounds of time and bytes.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// Introduction is what a server is known by.
type Introduction struct {
	Era      mcp.Era      // of what it answered; over TCP only the form of requests is by it
	Question ask.Question // it answers, and by which connections are verified
	Naming   work.Naming  // of nodes, by the answers to Question
	Node     string       // that answered; empty if nameless
	Nameless string       // why answers name no node, if they do not
	ServedBy bool         // responses over HTTP name a node too, see work.ByHeader
	Server   string       // name and version, as the server says; may be empty
	Stream   bool         // GET begins a stream of events
}

// Work is what clients ask who verify and do nothing else.
func (i Introduction) Work() work.Work {
	return work.Work{Era: i.Era, Verify: i.Question, Naming: i.Naming}
}

// patience is how long a server may take for the answer to one question.
const patience = 3 * time.Second

// within limits a question, with a cause that says so.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, patience, errLate)
}

var errLate = fmt.Errorf("no answer within %s", patience)

// Introduce finds out who answers at an endpoint. Eras are tried in the order wanted, which is by default the stateless and
// then that of sessions. A session that is begun is ended again.
func Introduce(ctx context.Context, e target.Endpoint, wanted ...mcp.Era) (Introduction, *Trouble) {
	if len(wanted) == 0 {
		wanted = []mcp.Era{mcp.StatelessEra, mcp.SessionEra}
	}
	a := acquaintance{endpoint: e}
	var trouble *Trouble
	if e.Transport == target.TCP {
		trouble = a.byLine(ctx)
	} else {
		trouble = a.carried(ctx, wanted)
	}
	a.Server, a.Nameless = scrub(e, a.Server), scrub(e, a.Nameless)
	return a.Introduction, scrubbed(e, trouble)
}

// acquaintance is an introduction under way.
type acquaintance struct {
	Introduction
	endpoint target.Endpoint
}

// byLine asks over TCP, each question over a connection of its own: a server may end one that it did not like.
func (a *acquaintance) byLine(ctx context.Context) *Trouble {
	var last *Trouble
	for _, q := range []ask.Question{ask.Whoami, ask.Discover, ask.Ping} {
		answer, err := a.askLine(ctx, q)
		r := q.Parse(answer.line)
		refusal := ask.CauseOfCode(r.Code)
		switch {
		case ctx.Err() != nil:
			return silent(context.Cause(ctx))
		case err != nil || r.Kind == ask.ReplyOther:
			if last == nil {
				if last = explain(ctx, a.endpoint, answer, err); last.Blame != Silent || connectFailed(err) {
					return last
				}
				a.Nameless = "no answer to tools/call " + string(ask.Whoami)
			}
		case r.Kind == ask.ReplyRefusal, r.Kind == ask.ReplyError && refusal != ask.CauseReply:
			last = refuses(answer.line, refusal)
			if refusal != ask.CauseReply {
				return last
			}
		case r.Kind == ask.ReplyError: // whoami only
			a.Nameless = notWhoami(answer.line)
			last = &Trouble{Blame: Refuses, Text: "the target answers nothing but: " + ask.Saying(answer.line)}
		case q == ask.Discover && r.Code == mcp.CodeMethodNotFound: // of the session era
		default:
			a.Question, a.Node = q, string(r.Node)
			if q == ask.Discover {
				a.Era = mcp.StatelessEra
			}
			a.noteServer(answer.line)
			if q.Names() {
				a.Era, a.Naming, a.Nameless = mcp.StatelessEra, work.ByAnswer, ""
			}
			return nil
		}
	}
	return last
}

func (a *acquaintance) askLine(ctx context.Context, q ask.Question) (answer, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	s, err := open(ctx, a.endpoint, netip.Addr{}, mcp.SessionEra)
	if err != nil {
		return answer{}, err
	}
	defer s.close()
	return s.ask(ctx, 1, q.Append(nil, 1), work.Request{})
}

// carried asks over what HTTP carries.
func (a *acquaintance) carried(ctx context.Context, wanted []mcp.Era) *Trouble {
	if a.endpoint.Transport == target.SSE {
		wanted = []mcp.Era{mcp.SessionEra}
	}
	for i, era := range wanted {
		s, greeting, err := meet(ctx, a.endpoint, era)
		if err != nil && i+1 < len(wanted) && perhapsOther(greeting, err) {
			continue
		}
		if err != nil && len(wanted) == 1 {
			if trouble := a.onlyOther(ctx, era, greeting, err); trouble != nil {
				return trouble
			}
		}
		if err == nil {
			a.Era = era
			a.noteServer(greeting.line)
			err = a.question(ctx, s)
			a.Stream = err == nil && era == mcp.SessionEra && streams(ctx, s)
			s.close()
		}
		if err != nil {
			return explain(ctx, a.endpoint, greeting, err)
		}
		break
	}
	return nil
}

// onlyOther is about a server that speaks the other era, and not the only one that is wanted; nil if it is not such a one.
func (a *acquaintance) onlyOther(ctx context.Context, wanted mcp.Era, got answer, err error) *Trouble {
	if a.endpoint.Transport == target.SSE || !perhapsOther(got, err) {
		return nil
	}
	other, speaks, name := mcp.SessionEra, "MCP with sessions only, up to 2025-11-25", "session"
	if wanted == mcp.SessionEra {
		other, speaks, name = mcp.StatelessEra, "MCP without sessions only, from 2026-07-28 on", "stateless"
	}
	s, _, err := meet(ctx, a.endpoint, other)
	if err != nil {
		return nil
	}
	s.close()
	return asked("--era "+name+", or leave it out", "%s speaks %s", Name(a.endpoint.Target), speaks)
}

// perhapsOther reports whether a server that did not answer as those of one era do may be of the other.
func perhapsOther(got answer, err error) bool {
	var u *unexpected
	switch {
	case errors.Is(err, errLate): // it may answer nothing to what it does not know
		return true
	case errors.As(err, &u):
		got = u.answer
	case !errors.Is(err, errNotGreeted):
		return false
	}
	return got.status != http.StatusUnauthorized && got.status != http.StatusForbidden && refusal(got) == ask.CauseReply
}

// errNotGreeted says that a server did not answer the first question of an era as servers of that era do.
var errNotGreeted = errors.New("not of this era")

// meet opens a conversation of an era. With errNotGreeted, the answer is what the server said instead.
func meet(ctx context.Context, e target.Endpoint, era mcp.Era) (speaker, answer, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	s, err := open(ctx, e, netip.Addr{}, era)
	if err != nil {
		return nil, answer{}, err
	}
	var greeting answer
	if era == mcp.StatelessEra {
		greeting, err = s.ask(ctx, 1, mcp.AppendDiscover(nil, 1), work.Request{Method: mcp.MethodDiscover})
		if err == nil && !discovered(greeting.line) {
			err = errNotGreeted
		}
	} else {
		greeting, err = begin(ctx, s)
	}
	if err != nil {
		s.close()
		return nil, greeting, err
	}
	return s, greeting, nil
}

// discovered reports whether a server of the stateless era says what it is.
func discovered(line []byte) bool {
	r, err := mcp.ParseReply(line)
	if err != nil || r.Err != nil {
		return false
	}
	var result struct {
		Versions []string `json:"supportedVersions"`
	}
	if json.Unmarshal(r.Result, &result) != nil {
		return false
	}
	return len(result.Versions) == 0 || slices.ContainsFunc(result.Versions, func(v string) bool { return mcp.EraOf(v) == mcp.StatelessEra })
}

// question finds what the server answers, and how the answer names a node.
func (a *acquaintance) question(ctx context.Context, s speaker) error {
	last := ask.Ping
	if a.Era == mcp.StatelessEra {
		last = ask.Discover
	}
	for _, q := range []ask.Question{ask.Whoami, last} {
		got, err := a.verify(ctx, s, q)
		if err != nil {
			return err
		}
		r := q.Parse(got.line)
		if cause := ask.CauseOfCode(r.Code); cause != ask.CauseReply && (r.Kind == ask.ReplyError || r.Kind == ask.ReplyRefusal) {
			return &unexpected{got}
		}
		servedBy := got.header.Get(string(work.ByHeader))
		a.ServedBy = servedBy != ""
		switch {
		case q.Names() && r.Kind == ask.ReplyAnswer:
			a.Question, a.Naming, a.Node = q, work.ByAnswer, string(r.Node)
			return nil
		case q.Names():
			a.Nameless = notWhoami(got.line) + ", and responses have no " + string(work.ByHeader)
			continue
		case r.Kind != ask.ReplyAnswer:
			return &unexpected{got}
		case servedBy != "":
			a.Naming, a.Node, a.Nameless = work.ByHeader, ask.Clean(servedBy), ""
		}
		a.Question = q
	}
	return nil
}

// verify asks as clients do.
func (a *acquaintance) verify(ctx context.Context, s speaker, q ask.Question) (answer, error) {
	script, err := work.Work{Era: a.Era, Verify: q}.Compile()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	id := work.ID(0, work.Verification)
	line, about := script.AppendVerify(nil, id)
	return s.ask(ctx, id, line, about)
}

// streams reports whether GET begins a stream of events.
func streams(ctx context.Context, s speaker) bool {
	w, ok := s.(*web)
	if !ok {
		return false
	}
	ctx, cancel := within(ctx)
	defer cancel()
	resp, err := w.request(ctx, http.MethodGet, "", http.Header{"Accept": {eventStream}})
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return isStream(resp)
}

func notWhoami(line []byte) string {
	if len(line) == 0 {
		return "no answer to tools/call " + string(ask.Whoami)
	}
	return fmt.Sprintf("tools/call %s is answered %q", ask.Whoami, ask.Saying(line))
}

// noteServer takes the name of the software from the answer to initialize or server/discover.
func (a *acquaintance) noteServer(line []byte) {
	type info struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	var reply struct {
		Result struct {
			Info info                       `json:"serverInfo"`
			Meta map[string]json.RawMessage `json:"_meta"`
		} `json:"result"`
	}
	if json.Unmarshal(line, &reply) != nil {
		return
	}
	i := reply.Result.Info
	if i.Name == "" {
		_ = json.Unmarshal(reply.Result.Meta[mcp.MetaServerInfo], &i) // stays empty
	}
	a.Server = ask.Clean(i.Name + " " + i.Version)
}

// begin begins a session and returns the answer to initialize.
func begin(ctx context.Context, s speaker) (answer, error) {
	const request = `{"jsonrpc":"2.0","id":1,"method":"` + mcp.MethodInitialize + `","params":{"protocolVersion":"%s",` +
		`"capabilities":{},"clientInfo":{"name":"erlmcp","version":"1"}}}` + "\n"
	got, err := s.ask(ctx, 1, fmt.Appendf(nil, request, s.speaks()), work.Request{Method: mcp.MethodInitialize})
	if err != nil {
		return got, err
	}
	r, err := mcp.ParseReply(got.line)
	if err != nil || r.Err != nil {
		return got, errNotGreeted
	}
	var result struct {
		Version string `json:"protocolVersion"`
	}
	if json.Unmarshal(r.Result, &result) != nil || result.Version == "" {
		return got, errNotGreeted
	}
	s.agreed(result.Version, got.header)
	return got, s.tell(ctx, []byte(`{"jsonrpc":"2.0","method":"`+mcp.MethodInitialized+`"}`+"\n"))
}
