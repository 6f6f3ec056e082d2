package ask

import (
	"encoding/json"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/internal/rawjson"
)

// maxID is the longest id of a request of a server that is answered.
const maxID = 1 << 10

// AppendReaction appends what a client says to a request of a server, as a line: to a ping that it is there, to all else that it
// does not do that. It appends nothing to what is no request.
func AppendReaction(dst, message []byte) []byte {
	if !json.Valid(message) {
		return dst
	}
	var id, method []byte
	rawjson.Take(message, rawjson.Wanted{Name: "id", Into: &id}, rawjson.Wanted{Name: "method", Into: &method})
	name, isText := rawjson.String(method)
	if kind := rawjson.Kind(id); !isText || len(id) > maxID || kind != '"' && kind != '0' {
		return dst
	}
	if string(name) == mcp.MethodPing {
		return append(append(append(dst, `{"jsonrpc":"2.0","id":`...), id...), `,"result":{}}`+"\n"...)
	}
	return mcp.AppendError(dst, id, mcp.CodeMethodNotFound, "clients of a load test do not do that")
}
