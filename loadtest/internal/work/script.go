package work

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/rawjson"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

// Verification is the step of requests that verify a connection.
const Verification = MaxSteps

// Script is work, ready to be asked by the clients of one agent. It has a state, which is that of the whole agent, and is for
// one goroutine at a time; but Parse, StepName and Work, which do not touch that, may be called at any time.
type Script struct {
	work   Work
	steps  []step
	total  int64 // of all weights
	random *rand.Rand
	now    func() time.Time

	client  int64  // that asks
	request uint64 // the last one that was appended, from 1
}

type step struct {
	Step
	*compiled
	credit int64 // see Next
	whoami bool  // answers name a node
}

// Compile checks work and makes a script of it.
func (w Work) Compile() (*Script, error) {
	if err := w.Validate(); err != nil {
		return nil, err
	}
	files := make(map[string]*lines, len(w.Files))
	for name, text := range w.Files {
		l, err := splitLines(text)
		if err != nil {
			return nil, fmt.Errorf("the file %q %w", name, err)
		}
		files[name] = l
	}
	s := &Script{work: w, random: rand.New(rand.NewPCG(w.Share.Seed, uint64(w.Share.Index))), now: time.Now}
	for _, p := range w.Steps {
		c, err := compile(p, w.Era, files)
		if err != nil {
			return nil, fmt.Errorf("step %q: parameters: %w", p.Name, err)
		}
		whoami := w.Verify.Names() && p.Method == mcp.MethodCallTool && c.name == string(ask.Whoami)
		s.steps = append(s.steps, step{Step: p, compiled: c, whoami: whoami})
		s.total += int64(p.Weight)
	}
	return s.As(0), nil
}

// Work is what the script is made of.
func (s *Script) Work() Work { return s.work }

// As says which client of the agent, from 0, asks what is appended next.
func (s *Script) As(client int) *Script {
	s.client = int64(s.work.Share.FirstClient) + int64(client) + 1
	return s
}

// StepName is the name of a step in reports.
func (s *Script) StepName(i int) string {
	if i < 0 || i >= len(s.steps) {
		return string(s.work.Verify)
	}
	return s.steps[i].Name
}

// AppendVerify appends the request that verifies a connection, as a line. In a session, which has agreed on a revision, it must
// not name another one, as a request of the stateless era does.
func (s *Script) AppendVerify(dst []byte, id uint64) ([]byte, Request) {
	r := Request{Step: Verification, Method: string(s.work.Verify)}
	if s.work.Verify.Names() {
		r.Method, r.Name = mcp.MethodCallTool, string(s.work.Verify)
		return mcp.AppendToolCall(dst, id, r.Name, s.work.Era), r
	}
	return s.work.Verify.Append(dst, id), r
}

// Next chooses the step that comes next. Of as many as the weights sum up to, each comes as often as its weight, and those of
// one step are spread among the others: each step gains its weight, the richest is chosen and pays for all (smooth weighted
// round-robin).
func (s *Script) Next() int {
	if len(s.steps) == 0 {
		return Verification
	}
	best := 0
	for i := range s.steps {
		p := &s.steps[i]
		if p.credit += int64(p.Weight); p.credit > s.steps[best].credit {
			best = i
		}
	}
	s.steps[best].credit -= s.total
	return best
}

// AppendStep appends the request of a step, as a line. It allocates only to grow dst, and for the name in the request if that
// is a template.
func (s *Script) AppendStep(dst []byte, i int, id uint64) ([]byte, Request) {
	if i < 0 || i >= len(s.steps) {
		return s.AppendVerify(dst, id)
	}
	p := &s.steps[i]
	s.request++
	dst = strconv.AppendUint(append(dst, head...), id, 10)
	dst, name := s.expand(dst, p.parts)
	if name == "" {
		name = p.name
	}
	return dst, Request{i, p.Method, name}
}

// expand appends what pieces stand for, and returns the name among them, if there is one.
func (s *Script) expand(dst []byte, pieces []piece) (_ []byte, name string) {
	begin := 0
	for i := range pieces {
		p := &pieces[i]
		switch p.kind {
		case literal:
			dst = append(dst, p.text...)
		case counter:
			share := s.work.Share
			dst = strconv.AppendInt(dst, p.from+int64(share.Index)+int64(max(share.Of, 1))*int64(s.request-1), 10)
		case integer:
			dst = strconv.AppendInt(dst, p.from+s.random.Int64N(p.to-p.from+1), 10)
		case uuid:
			dst = appendUUID(dst, s.random.Uint64(), s.random.Uint64())
		case hex:
			for n := int(p.to); n > 0; n -= 16 {
				dst = appendHex(dst, s.random.Uint64(), min(n, 16))
			}
		case line:
			dst = append(dst, p.lines.inOrder(s.request, s.work.Share)...)
		case randomLine:
			dst = append(dst, p.lines.texts[s.random.IntN(len(p.lines.texts))]...)
		case client:
			dst = strconv.AppendInt(dst, s.client, 10)
		case millis:
			dst = strconv.AppendInt(dst, s.now().UnixMilli(), 10)
		case rfc3339:
			dst = s.now().UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
		case nameBegins:
			begin = len(dst)
		case nameEnds:
			text, _ := rawjson.String(dst[begin:])
			name = string(text)
		}
	}
	return dst, name
}

// appendHex appends the last digits of n.
func appendHex(dst []byte, n uint64, digits int) []byte {
	for ; digits > 0; digits-- {
		dst = append(dst, "0123456789abcdef"[n>>(4*(digits-1))&0xf])
	}
	return dst
}

// appendUUID appends 128 random bits but for the six that say so (RFC 9562, section 5.4).
func appendUUID(dst []byte, high, low uint64) []byte {
	high = high&^0xf000 | 0x4000
	low = low&^(3<<62) | 2<<62
	dst = append(appendHex(dst, high>>32, 8), '-')
	dst = append(appendHex(dst, high>>16, 4), '-')
	dst = append(appendHex(dst, high, 4), '-')
	dst = append(appendHex(dst, low>>48, 4), '-')
	return appendHex(dst, low, 12)
}

// Parse reads what a server says. Which step it answers is a part of its number, see OfID. An error is ask.ReplyError, whatever
// the step, and a result in which a tool says no ask.ReplyToolError. Only answers to ask.Whoami, if that verifies, name a node:
// with Node nil an answer is from the node of its connection.
func (s *Script) Parse(line []byte) ask.Reply {
	r, result := ask.Parse(line)
	_, i := OfID(r.ID)
	switch {
	case r.Kind != ask.ReplyAnswer && r.Kind != ask.ReplyError:
	case i >= len(s.steps) || s.steps[i].whoami:
		return s.work.Verify.Judge(r, line)
	case r.Kind == ask.ReplyAnswer && s.steps[i].Method == mcp.MethodCallTool && saysError(result):
		r.Kind = ask.ReplyToolError
	}
	return r
}

// saysError reports whether the result of a tool has isError.
func saysError(result []byte) (says bool) {
	members, _ := rawjson.Object(result)
	for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
		if name, _ := rawjson.String(key); string(name) == "isError" {
			says = string(value) == "true"
		}
	}
	return says
}
