package ask

import (
	"encoding/json"
	"testing"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

func TestReactions(t *testing.T) {
	for message, want := range map[string]string{
		`{"jsonrpc":"2.0","id":7,"method":"ping"}`:      `{"jsonrpc":"2.0","id":7,"result":{}}`,
		`{"method":"ping","id":"a\"b","jsonrpc":"2.0"}`: `{"jsonrpc":"2.0","id":"a\"b","result":{}}`,
		`{"jsonrpc":"2.0","method":"ping"}`:             ``,
		`{"jsonrpc":"2.0","id":null,"method":"ping"}`:   ``,
		`{"jsonrpc":"2.0","id":{},"method":"ping"}`:     ``,
		`{"jsonrpc":"2.0","id":7,"result":{}}`:          ``,
		`{"jsonrpc":"2.0","id":7,"method":["ping"]}`:    ``,
		`{"jsonrpc":"2.0","id":7,"method":"ping"`:       ``,
		`[]`: ``,
		`{"jsonrpc":"2.0","method":"notifications/log"}`: ``,
	} {
		got := string(AppendReaction(nil, []byte(message)))
		if want != "" {
			want += "\n"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", message, got, want)
		}
	}
	r, err := mcp.ParseReply(AppendReaction(nil, []byte(`{"jsonrpc":"2.0","id":-1.5,"method":"roots/list"}`)))
	if err != nil || r.Err == nil || r.Err.Code != mcp.CodeMethodNotFound || string(r.ID) != "-1.5" {
		t.Errorf("%+v, %v", r, err)
	}
}

func FuzzReaction(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"method":"ping"}`))
	f.Add([]byte(`{"id":"x","method":"sampling/createMessage","params":{}}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		said := AppendReaction(nil, message)
		if len(said) == 0 {
			return
		}
		var theirs struct {
			ID json.RawMessage `json:"id"`
		}
		if !json.Valid(said) || !json.Valid(message) || json.Unmarshal(message, &theirs) != nil {
			t.Fatalf("%q to %q", said, message)
		}
		if _, err := mcp.ParseReply(said); err != nil {
			t.Fatalf("%q to %q: %v", said, message, err)
		}
	})
}
