package ask

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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
	for line, want := range map[string]struct{ named, nameless Reply }{
		node:    {Reply{Kind: ReplyAnswer, ID: 7, Node: []byte("erlmcp1")}, Reply{Kind: ReplyAnswer, ID: 7}},
		unknown: {Reply{Kind: ReplyError, ID: 7}, Reply{Kind: ReplyAnswer, ID: 7}},
		string(mcp.AppendError(nil, []byte("8"), mcp.CodeRateLimited, "slow")): {
			Reply{Kind: ReplyError, ID: 8, Code: mcp.CodeRateLimited}, Reply{Kind: ReplyError, ID: 8, Code: mcp.CodeRateLimited}},
		string(mcp.AppendError(nil, []byte("8"), mcp.CodeInvalidRequest, "initialize first")): {
			Reply{Kind: ReplyError, ID: 8, Code: mcp.CodeInvalidRequest}, Reply{Kind: ReplyAnswer, ID: 8, Code: mcp.CodeInvalidRequest}},
		string(mcp.AppendError(nil, nil, mcp.CodeUnavailable, "full")): {
			Reply{Kind: ReplyRefusal, Code: mcp.CodeUnavailable}, Reply{Kind: ReplyRefusal, Code: mcp.CodeUnavailable}},
		`{"jsonrpc":"2.0","id":9,"result":{}}`:               {Reply{Kind: ReplyError, ID: 9}, Reply{Kind: ReplyAnswer, ID: 9}},
		`{"jsonrpc":"2.0","id":"x","result":{}}`:             {},
		`{"jsonrpc":"2.0","method":"notifications/message"}`: {Reply{Kind: ReplyNone}, Reply{Kind: ReplyNone}},
		`HTTP/1.1 400 Bad Request`:                           {},
	} {
		if got := Whoami.Parse([]byte(line)); !reflect.DeepEqual(got, want.named) {
			t.Errorf("%s: %+v", line, got)
		}
		for _, q := range []Question{Discover, Ping} {
			if got := q.Parse([]byte(line)); !reflect.DeepEqual(got, want.nameless) {
				t.Errorf("%s: %s: %+v", q, line, got)
			}
		}
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"a"}]}}`))
	f.Add(mcp.AppendError(nil, []byte("8"), mcp.CodeInvalidRequest, "\x1b[2Jno"))
	f.Add([]byte(`{"result":{"content":[{"text":"` + strings.Repeat("é", 300) + `"}]},"id":1,"jsonrpc":"2.0"}`))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r"))
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, q := range []Question{Whoami, Discover, Ping} {
			if r := q.Parse(line); (r.Node != nil) != (q.Names() && r.Kind == ReplyAnswer) {
				t.Errorf("%s: %+v", q, r)
			}
		}
		text := Saying(line)
		if utf8.RuneCountInString(text) > maxSaying+1 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", text)
		}
	})
}

func TestQuestionsAreOneRequestEach(t *testing.T) {
	for q, want := range map[Question]string{Whoami: "tools/call", Discover: "server/discover", Ping: "ping"} {
		var m mcp.Envelope
		line := q.Append(nil, 42)
		if err := json.Unmarshal(line, &m); err != nil || m.Method != want || string(m.ID) != "42" || line[len(line)-1] != '\n' {
			t.Errorf("%s: %+v, %v", q, m, err)
		}
	}
}

func TestCauses(t *testing.T) {
	for err, want := range map[error]Cause{
		syscall.ECONNREFUSED: CauseRefused,
		os.NewSyscallError("connect", syscall.EADDRNOTAVAIL):                CauseLocal,
		fmt.Errorf("x: %w", os.NewSyscallError("read", syscall.ECONNRESET)): CauseReset,
		syscall.EPIPE:                        CauseReset,
		syscall.ETIMEDOUT:                    CauseTimeout,
		syscall.EHOSTUNREACH:                 CauseNetwork,
		os.ErrClosed:                         CauseNetwork,
		fmt.Errorf("%w: %w", ErrTLS, io.EOF): CauseClosed,
		fmt.Errorf("%w: %w", ErrTLS, syscall.ECONNRESET):              CauseReset,
		fmt.Errorf("%w: %w", ErrTLS, errors.New("unknown authority")): CauseTLS,
		&net.OpError{Op: "remote error", Err: tls.AlertError(42)}:     CauseTLS,
	} {
		if got := CauseOfError(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	for code, want := range map[int]Cause{
		mcp.CodeRateLimited: CauseRate, mcp.CodeBanned: CauseBan, mcp.CodeUnavailable: CauseUnavailable, mcp.CodeInternalError: CauseReply,
	} {
		if got := CauseOfCode(code); got != want {
			t.Errorf("%d: %s, want %s", code, got, want)
		}
	}
	for status, want := range map[int]Cause{
		200: CauseReply, 302: CauseReply, 400: CauseClient, 401: CauseAuth, 403: CauseAuth, 404: CauseClient,
		429: CauseRate, 500: CauseServer, 502: CauseServer, 503: CauseUnavailable,
	} {
		if got := CauseOfStatus(status); got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
	seen := make(map[string]bool)
	for c := range Causes {
		if c.String() == "" || seen[c.String()] {
			t.Errorf("cause %d has no name of its own", c)
		}
		seen[c.String()] = true
	}
}

func TestCausesOfReplies(t *testing.T) {
	for r, want := range map[*Reply]Cause{
		{Kind: ReplyAnswer}: CauseNone,
		{Kind: ReplyAnswer, Code: mcp.CodeInvalidRequest}: CauseNone,
		{Kind: ReplyNone}:  CauseNone,
		{Kind: ReplyOther}: CauseReply,
		{Kind: ReplyError}: CauseReply, // without the name of a node
		{Kind: ReplyError, Code: mcp.CodeInvalidParams}:   CauseTool,
		{Kind: ReplyError, Code: mcp.CodeRateLimited}:     CauseRate,
		{Kind: ReplyRefusal, Code: mcp.CodeUnavailable}:   CauseUnavailable,
		{Kind: ReplyRefusal, Code: mcp.CodeInternalError}: CauseReply,
		{Kind: ReplyToolError}:                            CauseTool,
	} {
		if got := r.Cause(); got != want {
			t.Errorf("%+v: %s, want %s", *r, got, want)
		}
	}
}

func TestEras(t *testing.T) {
	for q, want := range map[Question]mcp.Era{Whoami: mcp.StatelessEra, Discover: mcp.StatelessEra, Ping: mcp.SessionEra} {
		if got := q.Era(); got != want {
			t.Errorf("%s: %s", q, got)
		}
	}
}
