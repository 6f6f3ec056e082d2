package loadtest

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

func TestParseReply(t *testing.T) {
	node := `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"erlmcp1"}]}}`
	unknown := `{"jsonrpc":"2.0","id":7,"result":{"isError":true,"content":[{"type":"text","text":"Unknown tool"}]}}`
	for line, want := range map[string]struct{ named, nameless reply }{
		node:    {reply{kind: replyAnswer, id: 7, node: []byte("erlmcp1")}, reply{kind: replyAnswer, id: 7}},
		unknown: {reply{kind: replyError, id: 7}, reply{kind: replyAnswer, id: 7}},
		string(mcp.AppendError(nil, []byte("8"), mcp.CodeRateLimited, "slow")): {
			reply{kind: replyError, id: 8, code: mcp.CodeRateLimited}, reply{kind: replyError, id: 8, code: mcp.CodeRateLimited}},
		string(mcp.AppendError(nil, []byte("8"), mcp.CodeInvalidRequest, "initialize first")): {
			reply{kind: replyError, id: 8, code: mcp.CodeInvalidRequest}, reply{kind: replyAnswer, id: 8, code: mcp.CodeInvalidRequest}},
		string(mcp.AppendError(nil, nil, mcp.CodeUnavailable, "full")): {
			reply{kind: replyRefusal, code: mcp.CodeUnavailable}, reply{kind: replyRefusal, code: mcp.CodeUnavailable}},
		`{"jsonrpc":"2.0","id":9,"result":{}}`:               {reply{kind: replyError, id: 9}, reply{kind: replyAnswer, id: 9}},
		`{"jsonrpc":"2.0","id":"x","result":{}}`:             {},
		`{"jsonrpc":"2.0","method":"notifications/message"}`: {reply{kind: replyNone}, reply{kind: replyNone}},
		`HTTP/1.1 400 Bad Request`:                           {},
	} {
		if got := askWhoami.parse([]byte(line)); !reflect.DeepEqual(got, want.named) {
			t.Errorf("%s: %+v", line, got)
		}
		for _, q := range []question{askDiscover, askPing} {
			if got := q.parse([]byte(line)); !reflect.DeepEqual(got, want.nameless) {
				t.Errorf("%s: %s: %+v", q, line, got)
			}
		}
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add([]byte(nodeReply("7", "a")))
	f.Add(mcp.AppendError(nil, []byte("8"), mcp.CodeInvalidRequest, "\x1b[2Jno"))
	f.Add([]byte(`{"result":{"content":[{"text":"` + strings.Repeat("é", 300) + `"}]},"id":1,"jsonrpc":"2.0"}`))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r"))
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, q := range []question{askWhoami, askDiscover, askPing} {
			if r := q.parse(line); (r.node != nil) != (q.names() && r.kind == replyAnswer) {
				t.Errorf("%s: %+v", q, r)
			}
		}
		text := saying(line)
		if utf8.RuneCountInString(text) > maxSaying+1 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", text)
		}
	})
}

func TestQuestionsAreOneRequestEach(t *testing.T) {
	for q, want := range map[question]string{askWhoami: "tools/call", askDiscover: "server/discover", askPing: "ping"} {
		var m mcp.Envelope
		line := q.append(nil, 42)
		if err := json.Unmarshal(line, &m); err != nil || m.Method != want || string(m.ID) != "42" || line[len(line)-1] != '\n' {
			t.Errorf("%s: %+v, %v", q, m, err)
		}
	}
}

func TestCauses(t *testing.T) {
	for err, want := range map[error]cause{
		syscall.ECONNREFUSED: causeRefused,
		os.NewSyscallError("connect", syscall.EADDRNOTAVAIL):                causeLocal,
		fmt.Errorf("x: %w", os.NewSyscallError("read", syscall.ECONNRESET)): causeReset,
		syscall.EPIPE:        causeReset,
		syscall.ETIMEDOUT:    causeTimeout,
		syscall.EHOSTUNREACH: causeNetwork,
		os.ErrClosed:         causeNetwork,
	} {
		if got := causeOfError(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	for code, want := range map[int]cause{
		mcp.CodeRateLimited: causeRate, mcp.CodeBanned: causeBan, mcp.CodeUnavailable: causeUnavailable, mcp.CodeInternalError: causeReply,
	} {
		if got := causeOfCode(code); got != want {
			t.Errorf("%d: %s, want %s", code, got, want)
		}
	}
	seen := make(map[string]bool)
	for c := range causes {
		if c.String() == "" || seen[c.String()] {
			t.Errorf("cause %d has no name of its own", c)
		}
		seen[c.String()] = true
	}
}

// Counts added up in any grouping are the same, and a map that was shown is not changed.
func TestCountsAdd(t *testing.T) {
	a := counts{Verified: 1, Nodes: map[string]int{"x": 1}, FirstLost: 5, LastRecovered: 7, Failures: map[string]int64{"rate": 1}}
	b := counts{Verified: 2, Nodes: map[string]int{"x": 2, "y": 3}, FirstLost: 4, LastVerified: 9, Requests: requestCounts{3, 1, 1, 0}}
	var sum counts
	sum.add(a)
	shown := sum.Nodes
	sum.add(b)
	if sum.Verified != 3 || sum.Nodes["x"] != 3 || sum.Nodes["y"] != 3 || sum.FirstLost != 4 || sum.LastRecovered != 7 || sum.LastVerified != 9 {
		t.Errorf("%+v", sum)
	}
	if shown["x"] != 1 || a.Nodes["x"] != 1 {
		t.Error("a map was changed")
	}
	if sum.Requests.underWay() != 1 {
		t.Errorf("%+v", sum.Requests)
	}
}

func TestCompareNatural(t *testing.T) {
	names := []string{"agent10", "remote1", "agent2", "b", "agent1"}
	sortNatural(names)
	if got := fmt.Sprint(names); got != "[agent1 agent2 agent10 b remote1]" {
		t.Error(got)
	}
}
