package protocol

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// lot is a Later that keeps up to room replies and sends none.
type lot struct {
	room int
	kept []Deferred
}

func (l *lot) Defer(d Deferred) bool {
	if len(l.kept) == l.room {
		return false
	}
	d.ID, d.Reply = bytes.Clone(d.ID), bytes.Clone(d.Reply)
	l.kept = append(l.kept, d)
	return true
}

func (l *lot) Cancel(id []byte) {
	for i, d := range l.kept {
		if bytes.Equal(d.ID, id) {
			l.kept = append(l.kept[:i], l.kept[i+1:]...)
			return
		}
	}
}

// in returns a session that has agreed on version; "" has not begun.
func in(version string) *Session {
	ss := new(Session)
	if version != "" {
		ss.begin(version)
	}
	return ss
}

const meta2026 = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
const complete = `"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"erlmcp","version":"v1"}},`

func TestAnswers(t *testing.T) {
	const begun = "2025-11-25"
	fail := func(id, code, text string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"error":{"code":` + code + `,"message":"` + text + `"}}`
	}
	whoami := `"content":[{"type":"text","text":"erlmcp1"}],"structuredContent":{"node":"erlmcp1"}}}`
	tests := []struct {
		name, version, line, want string
	}{
		// The framing.
		{"nothing", "", ``, ``},
		{"blank", "", " \t\r", ``},
		{"carriage return", "", `{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\r", `{"jsonrpc":"2.0","id":1,"result":{}}`},
		{"not JSON", begun, `{"jsonrpc":`, fail("null", "-32700", "the line is not JSON in UTF-8")},
		{"two values", begun, `{"jsonrpc":"2.0","id":1,"method":"ping"} {}`, fail("null", "-32700", "the line is not JSON in UTF-8")},
		{"not UTF-8", begun, "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}", fail("null", "-32700", "the line is not JSON in UTF-8")},

		// JSON-RPC.
		{"a number", begun, `42`, fail("null", "-32600", "a message must be an object")},
		{"no version", begun, `{"id":1,"method":"ping"}`, fail("1", "-32600", `\"jsonrpc\" must be \"2.0\"`)},
		{"version 1", begun, `{"jsonrpc":"1.0","id":"x","method":"ping"}`, fail(`"x"`, "-32600", `\"jsonrpc\" must be \"2.0\"`)},
		{"no method", begun, `{"jsonrpc":"2.0","id":1}`, fail("1", "-32600", `\"method\" is missing`)},
		{"method of another type", begun, `{"jsonrpc":"2.0","method":1,"params":"bar"}`, fail("null", "-32600", `\"method\" must be a string`)},
		{"null id", begun, `{"jsonrpc":"2.0","id":null,"method":"ping"}`, fail("null", "-32600", `\"id\" must be a string or a number`)},
		{"object id", begun, `{"jsonrpc":"2.0","id":{},"method":"ping"}`, fail("null", "-32600", `\"id\" must be a string or a number`)},
		{"long id", begun, `{"jsonrpc":"2.0","id":"` + strings.Repeat("i", maxID) + `","method":"ping"}`, fail("null", "-32600", `\"id\" is too long`)},
		{"id as it came", begun, `{"jsonrpc":"2.0","id":1.50e1,"method":"ping"}`, `{"jsonrpc":"2.0","id":1.50e1,"result":{}}`},
		{"names are exact", begun, `{"jsonrpc":"2.0","ID":1,"Method":"ping"}`, fail("null", "-32600", `\"method\" is missing`)},
		{"escaped names", begun, `{"jsonrpc":"\u0032.0","\u0069d":1,"method":"p\u0069ng"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
		{"notification", begun, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, ``},
		{"unknown notification", begun, `{"jsonrpc":"2.0","method":"tools/call","params":[]}`, ``},
		{"response", begun, `{"jsonrpc":"2.0","id":1,"result":{}}`, ``},
		{"error response", begun, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}`, ``},
		{"positional parameters", begun, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["echo"]}`, fail("1", "-32602", `\"params\" must be an object`)},
		{"unknown method", begun, `{"jsonrpc":"2.0","id":1,"method":"a\"b"}`, fail("1", "-32601", `unknown method \"a\\\"b\"`)},
		{"long method", begun, `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("é", 33) + `"}`, fail("1", "-32601", `unknown method \"`+strings.Repeat("é", 32)+`\"…`)},

		// Before and at the beginning of a session.
		{"ping without session", "", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
		{"unknown method without session", "", `{"jsonrpc":"2.0","id":1,"method":"x"}`, fail("1", "-32601", `unknown method \"x\"`)},
		{"call without session", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami"}}`,
			fail("1", "-32602", `no session has begun, and \"io.modelcontextprotocol/protocolVersion\" in \"_meta\" is not \"2026-07-28\"`)},
		{"discover without version", "", `{"jsonrpc":"2.0","id":1,"method":"server/discover"}`,
			fail("1", "-32602", `no session has begun, and \"io.modelcontextprotocol/protocolVersion\" in \"_meta\" is not \"2026-07-28\"`)},
		{"discover in a session", begun, `{"jsonrpc":"2.0","id":1,"method":"server/discover"}`, fail("1", "-32601", `unknown method \"server/discover\"`)},
		{"initialize", "", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`,
			`{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"erlmcp","version":"v1"}}}`},
		{"initialize with a version to come", "", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2026-07-28"}}`,
			`{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"erlmcp","version":"v1"}}}`},
		{"initialize without version", "", `{"jsonrpc":"2.0","id":0,"method":"initialize"}`, fail("0", "-32602", `\"protocolVersion\" must be a string`)},
		{"initialize twice", begun, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}`, fail("0", "-32600", "the session has begun already")},

		// Tools in a session.
		{"whoami", begun, `{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"whoami"}}`, `{"jsonrpc":"2.0","id":"a","result":{` + whoami},
		{"the session's version in _meta", begun, `{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"whoami","arguments":null,"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}}}`, `{"jsonrpc":"2.0","id":"a","result":{` + whoami},
		{"echo", begun, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"}\\\"{"}}}`, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"}\\\"{"}]}}`},
		{"wrong argument", begun, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"the argument \"message\" must be a string"}],"isError":true}}`},
		{"unknown tool", begun, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}`, fail("1", "-32602", `unknown tool \"x\"`)},
		{"no tool", begun, `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, fail("1", "-32602", `\"name\" must be a string`)},
		{"positional arguments", begun, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":[1,2]}}`, fail("1", "-32602", `\"arguments\" must be an object`)},
		{"no such page", begun, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"2"}}`, fail("1", "-32602", "the list has one page: there is no such cursor")},

		// The stateless era.
		{"discover", "", `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{` + meta2026 + `}}`,
			`{"jsonrpc":"2.0","id":1,"result":{` + complete + `"supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"capabilities":{"tools":{}},"ttlMs":300000,"cacheScope":"public"}}`},
		{"stateless whoami", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami",` + meta2026 + `}}`, `{"jsonrpc":"2.0","id":1,"result":{` + complete + whoami},
		{"both eras on one connection", begun, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta2026 + `,"name":"whoami"}}`, `{"jsonrpc":"2.0","id":1,"result":{` + complete + whoami},
		{"ping is gone", "", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{` + meta2026 + `}}`, fail("1", "-32601", `unknown method \"ping\"`)},
		{"initialize is gone", "", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{` + meta2026 + `}}`, fail("1", "-32601", `unknown method \"initialize\"`)},
		{"no capabilities", "", `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
			fail("1", "-32602", `\"io.modelcontextprotocol/clientCapabilities\" is missing in \"_meta\"`)},
		{"unsupported version", "", `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2099-01-01"}}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"unsupported protocol version","data":{"supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"requested":"2099-01-01"}}}`},
		{"version of another type", "", `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}}`,
			fail("1", "-32602", `\"io.modelcontextprotocol/protocolVersion\" in \"_meta\" must be a version`)},

		// Batches.
		{"batch in another version", begun, `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, fail("null", "-32600", "batches are allowed in a session of version 2025-03-26 only")},
		{"batch without session", "", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, fail("null", "-32600", "batches are allowed in a session of version 2025-03-26 only")},
		{"empty batch", batching, `[]`, fail("null", "-32600", "a batch must hold 1 to 1000 messages")},
		{"large batch", batching, `[` + strings.Repeat("1,", maxBatch) + `1]`, fail("null", "-32600", "a batch must hold 1 to 1000 messages")},
		{"batch", batching, `[{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"y"},7,{"jsonrpc":"2.0","id":2,"result":{}},{"jsonrpc":"2.0","id":3,"method":"z"}]`,
			`[{"jsonrpc":"2.0","id":1,"result":{}},` + fail("null", "-32600", "a message must be an object") + `,` + fail("3", "-32601", `unknown method \"z\"`) + `]`},
		{"batch of notifications", batching, `[{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","method":"y"}]`, ``},
		{"batch in a batch", batching, `[[{"jsonrpc":"2.0","id":1,"method":"ping"}]]`, `[` + fail("null", "-32600", "a message must be an object") + `]`},
	}
	server := New("erlmcp1", "v1")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := string(server.Answer([]byte("before"), []byte(test.line), in(test.version), new(lot)))
			want := "before" + test.want
			if test.want != "" {
				want += "\n"
			}
			if got != want {
				t.Errorf("%s\ngot  %s\nwant %s", test.line, got, want)
			}
		})
	}
}

func TestInitializeBeginsTheSession(t *testing.T) {
	server, ss := New("n", "v"), new(Session)
	server.Answer(nil, []byte(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}`), ss, new(lot))
	got := string(server.Answer(nil, []byte(`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`), ss, new(lot)))
	if want := `[{"jsonrpc":"2.0","id":1,"result":{}}]` + "\n"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestListTools(t *testing.T) {
	server := New("n", "v1")
	session := string(server.Answer(nil, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`), in("2025-11-25"), new(lot)))
	stateless := string(server.Answer(nil, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":null,`+meta2026+`}}`), in(""), new(lot)))
	if want := `{"jsonrpc":"2.0","id":1,"result":{"tools":` + server.toolList + "}}\n"; session != want {
		t.Errorf("in a session: %s", session)
	}
	if want := `{"jsonrpc":"2.0","id":1,"result":{` + complete + `"tools":` + server.toolList + `,"ttlMs":300000,"cacheScope":"public"}}` + "\n"; stateless != want {
		t.Errorf("stateless: %s", stateless)
	}
}

func TestSleepIsDeferred(t *testing.T) {
	server, l := New("n", "v"), &lot{room: 1}
	call := func(id string) string {
		return string(server.Answer(nil, []byte(`{"jsonrpc":"2.0","id":`+id+`,"method":"tools/call","params":{"name":"sleep","arguments":{"milliseconds":5}}}`), in("2025-11-25"), l))
	}
	if got := call("1"); got != "" {
		t.Fatalf("answered at once: %s", got)
	}
	if d := l.kept[0]; string(d.ID) != "1" || d.After != 5*time.Millisecond || d.Batch != nil ||
		string(d.Reply) != `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"slept 5 ms"}]}}` {
		t.Errorf("kept %+v with %s", d, d.Reply)
	}
	if got, want := call("2"), `{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"too many calls are asleep on this connection"}],"isError":true}}`+"\n"; got != want {
		t.Errorf("with no room: %s", got)
	}
	server.Answer(nil, []byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`), in("2025-11-25"), l)
	if len(l.kept) != 0 {
		t.Errorf("cancelled, but kept")
	}
}

func TestBatchWaitsForSleepers(t *testing.T) {
	const line = `[{"jsonrpc":"2.0","id":1,"method":"ping"},` +
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"sleep","arguments":{"milliseconds":5}}},` +
		`{"jsonrpc":"2.0","id":3,"method":"ping"},` +
		`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"sleep","arguments":{"milliseconds":5}}}]`
	const pong1, pong3 = `{"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","id":3,"result":{}}`
	server, l := New("n", "v"), &lot{room: 9}
	if got := server.Answer(nil, []byte(line), in(batching), l); len(got) != 0 {
		t.Fatalf("answered at once: %s", got)
	}
	batch := l.kept[0].Batch
	if line := batch.Settle(l.kept[0].Reply); line != nil {
		t.Fatalf("answered with one call asleep: %s", line)
	}
	if line := batch.Settle(nil); string(line) != "["+pong1+","+pong3+","+string(l.kept[0].Reply)+"]\n" {
		t.Errorf("got %s", line)
	}

	l = &lot{room: 9}
	server.Answer(nil, []byte(`[{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"sleep","arguments":{"milliseconds":5}}}]`), in(batching), l)
	if line := l.kept[0].Batch.Settle(nil); line != nil {
		t.Errorf("nothing is left to answer, but got %s", line)
	}
}

func TestPlainRequestsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("with the race detector sync.Pool, which json.Valid uses, forgets on purpose")
	}
	server, l, dst := New("erlmcp1", "v"), new(lot), make([]byte, 0, 4096)
	for name, line := range map[string]string{
		"ping":   `{"jsonrpc":"2.0","id":12345,"method":"ping"}`,
		"whoami": `{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"whoami","arguments":{}}}`,
		"echo":   `{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hello"},` + meta2026 + `}}`,
	} {
		ss, line := in("2025-11-25"), []byte(line)
		if allocs := testing.AllocsPerRun(100, func() { server.Answer(dst, line, ss, l) }); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	server, l, ss, dst := New("erlmcp1", "v"), new(lot), in("2025-11-25"), make([]byte, 0, 4096)
	for _, bench := range []struct{ name, line string }{
		{"ping", `{"jsonrpc":"2.0","id":12345,"method":"ping"}`},
		{"whoami", `{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"whoami","arguments":{}}}`},
		{"whoami stateless", `{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"whoami","arguments":{},` + meta2026 + `}}`},
		{"echo 64 KiB", `{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"echo","arguments":{"message":"` + strings.Repeat("m", 64<<10) + `"}}}`},
	} {
		line := []byte(bench.line)
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				dst = server.Answer(dst[:0], line, ss, l)
			}
		})
	}
}
