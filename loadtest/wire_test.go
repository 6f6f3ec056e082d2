package loadtest

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"syscall"
	"testing"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

func TestParseReply(t *testing.T) {
	node := `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"erlmcp1"}]}}`
	for line, want := range map[string]reply{
		node: {kind: replyNode, id: 7, node: []byte("erlmcp1")},
		string(mcp.AppendError(nil, []byte("8"), mcp.CodeRateLimited, "slow")): {kind: replyError, id: 8, code: mcp.CodeRateLimited},
		string(mcp.AppendError(nil, nil, mcp.CodeUnavailable, "full")):         {kind: replyRefusal, code: mcp.CodeUnavailable},
		`{"jsonrpc":"2.0","id":9,"result":{}}`:                                 {},
		`{"jsonrpc":"2.0","method":"notifications/message"}`:                   {},
		`HTTP/1.1 400 Bad Request`:                                             {},
	} {
		if got := parseReply([]byte(line)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

func TestWhoamiIsOneRequest(t *testing.T) {
	var m mcp.Envelope
	if err := json.Unmarshal(appendWhoami(nil, 42), &m); err != nil || m.Method != "tools/call" || string(m.ID) != "42" {
		t.Errorf("%+v, %v", m, err)
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
