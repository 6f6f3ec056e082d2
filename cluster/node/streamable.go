package node

import (
	"bytes"
	"net/http"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// sessionTimeout is how long a session lives without a message from its client.
const sessionTimeout = 30 * time.Minute

// streamable is Streamable HTTP in both eras, which one path of the SDK does not serve at once.
type streamable struct {
	begun     http.Handler // requests of a session
	beginning http.Handler // those that may begin one
	stateless http.Handler
}

func newStreamable(server *sdk.Server, all *sessions, maxMessage int64) *streamable {
	get := func(*http.Request) *sdk.Server { return server }
	options := sdk.StreamableHTTPOptions{
		JSONResponse:                 true,
		SessionTimeout:               sessionTimeout,
		DisableLocalhostProtection:   true, // see sameOrigin
		MaxRequestBodyBytes:          maxMessage,
		PropagateRequestCancellation: true,
	}
	stateless := options
	stateless.Stateless = true
	stateful := sdk.NewStreamableHTTPHandler(get, &options)
	return &streamable{
		begun:     all.using(stateful),
		beginning: all.admitting(stateful),
		stateless: sdk.NewStreamableHTTPHandler(get, &stateless),
	}
}

// serve passes a request with its message on to its era. Its header says which that is. A message of the stateless era
// without the header goes there too, to be told what it lacks.
func (s *streamable) serve(w http.ResponseWriter, r *http.Request, message []byte) {
	switch {
	case mcp.EraOf(r.Header.Get(mcp.HeaderProtocolVersion)) == mcp.StatelessEra:
		s.stateless.ServeHTTP(w, r)
	case r.Method != http.MethodPost || r.Header.Get(mcp.HeaderSessionID) != "":
		s.begun.ServeHTTP(w, r)
	case bytes.Contains(message, []byte(mcp.MetaProtocolVersion)):
		s.stateless.ServeHTTP(w, r)
	default:
		s.beginning.ServeHTTP(w, r)
	}
}
