package node

import (
	"bytes"
	"encoding/json"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/cluster/node/internal/tools"
)

// The SDK says of a result what the tools have said.
func TestResultsPassTheSDK(t *testing.T) {
	set := tools.New("erlmcp1")
	for _, call := range [][2]string{
		{"echo", `{"message":"a\"b\u00e9\ud83d\ude00\ud800 <&>"}`}, {"echo", `{"message":""}`}, {"echo", `{"message":1}`},
		{"add", `{"a":1,"b":0.5}`}, {"add", `{"a":"1","b":1}`}, {"whoami", `{}`}, {"sleep", `{"milliseconds":1}`},
	} {
		made, _, err := set.AppendCall([]byte{'{'}, call[0], []byte(call[1]))
		if err != nil {
			t.Fatal(err)
		}
		got, err := callTool(t.Context(), set, &sdk.CallToolParamsRaw{Name: call[0], Arguments: json.RawMessage(call[1])})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var want sdk.CallToolResult
		if err := json.Unmarshal(append(made, '}'), &want); err != nil {
			t.Fatal(err)
		}
		if decoded, err := json.Marshal(&want); err != nil || !bytes.Equal(text, decoded) {
			t.Errorf("%s %s: %s, want %s, %v", call[0], call[1], text, decoded, err)
		}
	}
}
