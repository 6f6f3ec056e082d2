package healthcheck

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzParseReply holds the reader of replies against encoding/json.
func FuzzParseReply(f *testing.F) {
	for _, line := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{}}`,
		` {"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}} ` + "\r",
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32018,"message":"full"}}`,
		`{"jsonrpc":"2.0","id":null,"result":1}`,
		`{"jsonrpc":"2.0","id":"1","result":1}`,
		`{"jsonrpc":"2.0","method":"ping","id":1}`,
		`[{"jsonrpc":"2.0","id":1,"result":{}}]`,
		`{"jsonrpc":"2.0","id":1}`,
		"HTTP/1.1 400 Bad Request\r",
		"", "\x00", "{",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, mine, err := parseReply(line, 1)
		if mine != (r != nil) || mine && err != nil {
			t.Fatalf("reply %v, mine %v, error %v", r, mine, err)
		}
		if !mine {
			return
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(bytes.TrimSpace(line), &m); err != nil {
			t.Fatalf("took %q for a reply: %v", line, err)
		}
		if (r.Result == nil) == (r.Err == nil) {
			t.Fatalf("%q: result %q and error %v", line, r.Result, r.Err)
		}
		if id := string(r.ID); id != "1" && (id != "null" || r.Err == nil) {
			t.Fatalf("%q: id %s", line, id)
		}
		if describe("ping", r) == nil {
			t.Fatalf("%q: no detail", line)
		}
	})
}
