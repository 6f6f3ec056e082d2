package protocol

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// reply is a reply as a client reads it.
type reply struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  json.RawMessage `json:"result"`
	Error   *mcp.Error      `json:"error"`
}

// FuzzAnswer checks what is true of every answer: it is nothing or one line; each reply in it is well-formed;
// and who gets one is decided as by somebody who decodes the message with encoding/json.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		`{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2025-03-26"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":-2e3}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sleep","arguments":{"milliseconds":3}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + meta2026 + `}}`,
		`{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2099"}}}`,
		`[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"x"},[]]`,
		`{"jsonrpc":"2.0","id":null,"method":"ping","method":"pong"}`,
		`{"jsonrpc":"2.0","id":1,"error":{}}`,
		`{"jsonrpc":`, `[]`, `""`, ` `,
	} {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(3)) // 2025-03-26
	}
	server := New("erlmcp1", "v1")
	f.Fuzz(func(t *testing.T, line []byte, version uint8) {
		if bytes.IndexByte(line, '\n') >= 0 {
			t.Skip("the connection splits lines")
		}
		ss, later := &Session{version: version % uint8(len(mcp.Versions))}, &lot{room: 2}
		batches := ss.allowsBatches()
		out := server.Answer(nil, line, ss, later)
		if len(out) == 0 && len(bytes.TrimSpace(line)) > 0 && !json.Valid(line) {
			t.Fatal("what is not JSON got no answer")
		}
		if len(out) > 0 && (bytes.IndexByte(out, '\n') != len(out)-1 || !utf8.Valid(out)) {
			t.Fatalf("not one line of UTF-8: %q", out)
		}

		replies := decodeReplies(t, out)
		for _, d := range later.kept {
			replies = append(replies, decodeReplies(t, d.Reply)...)
		}
		for _, r := range replies {
			if r.JSONRPC != "2.0" || len(r.ID) == 0 || (r.Result == nil) == (r.Error == nil) {
				t.Errorf("malformed reply %+v to %q", r, line)
			}
		}
		if !json.Valid(line) || !utf8.Valid(line) || batches && bytes.HasPrefix(bytes.TrimSpace(line), []byte("[")) {
			return
		}
		wantReply, wantID := expect(line)
		if (len(replies) == 1) != wantReply || len(replies) > 1 {
			t.Fatalf("%d replies to %q, %s", len(replies), line, out)
		}
		if wantReply && string(replies[0].ID) != wantID {
			t.Errorf("a reply to %s, not to %s: %q, %s", replies[0].ID, wantID, line, out)
		}
	})
}

func decodeReplies(t *testing.T, text []byte) (replies []reply) {
	if len(text) == 0 {
		return nil
	}
	if text[0] != '[' {
		text = append(append([]byte("["), text...), ']')
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&replies); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return replies
}

// expect tells whether a message, which is valid JSON, is to be answered, and with which id.
func expect(line []byte) (answered bool, id string) {
	var m map[string]json.RawMessage
	if json.Unmarshal(line, &m) != nil || m == nil {
		return true, "null"
	}
	isString := func(name string) (s string, ok bool) {
		return s, json.Unmarshal(m[name], &s) == nil && string(m[name]) != "null"
	}
	raw, hasID := m["id"]
	id = string(raw)
	goodID := hasID && len(id) <= maxID && (id[0] == '"' || strings.ContainsRune("-0123456789", rune(id[0])))
	if !goodID {
		id = "null"
	}
	version, _ := isString("jsonrpc")
	_, goodMethod := isString("method")
	_, hasMethod := m["method"]
	_, hasResult := m["result"]
	_, hasError := m["error"]
	isResponse := !hasMethod && (hasResult || hasError) && (goodID || !hasID)
	isNotification := goodMethod && !hasID && version == "2.0"
	return !isResponse && !isNotification, id
}
