package node

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

const (
	// bodyTimeout is how long a client may take to send a message.
	bodyTimeout = 30 * time.Second

	// sessionTimeout is how long a session lives without a message from its client.
	sessionTimeout = 30 * time.Minute

	// maxSessions is how many sessions there may be over HTTP.
	maxSessions = 10_000
)

// streamable is Streamable HTTP in both eras, which one path of the SDK does not serve at once.
type streamable struct {
	server     *sdk.Server
	sessions   http.Handler
	stateless  http.Handler
	maxMessage int64
}

func newStreamable(server *sdk.Server, maxMessage int64) *streamable {
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
	return &streamable{
		server:     server,
		sessions:   sdk.NewStreamableHTTPHandler(get, &options),
		stateless:  sdk.NewStreamableHTTPHandler(get, &stateless),
		maxMessage: maxMessage,
	}
}

// ServeHTTP passes a request on to its era. Its header says which that is. A message of the stateless era
// without the header goes there too, to be told what it lacks.
func (s *streamable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r, s.maxMessage)
	switch {
	case !ok:
	case mcp.EraOf(r.Header.Get(mcp.HeaderProtocolVersion)) == mcp.StatelessEra:
		s.stateless.ServeHTTP(w, r)
	case r.Method != http.MethodPost || r.Header.Get(mcp.HeaderSessionID) != "":
		s.sessions.ServeHTTP(w, r)
	case bytes.Contains(body, []byte(mcp.MetaProtocolVersion)):
		s.stateless.ServeHTTP(w, r)
	case countSessions(s.server) >= maxSessions:
		w.Header().Set("Retry-After", "60")
		refuse(w, http.StatusServiceUnavailable, mcp.CodeUnavailable, "the node has as many sessions as it may have")
	default:
		s.sessions.ServeHTTP(w, r)
	}
}

func countSessions(server *sdk.Server) (n int) {
	for range server.Sessions() {
		n++
	}
	return n
}

// readBody reads the body of a request in full, within bodyTimeout, and leaves it to be read again. When
// ok is false, the request has been answered.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) (body []byte, ok bool) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, true
	}
	control := http.NewResponseController(w)
	err := control.SetReadDeadline(time.Now().Add(bodyTimeout))
	if err == nil {
		body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
		err = errors.Join(err, control.SetReadDeadline(time.Time{})) // the server still watches for the client to go
	}
	tooLarge := new(http.MaxBytesError)
	switch {
	case err == nil:
		r.Body = io.NopCloser(bytes.NewReader(body))
		return body, true
	case errors.As(err, &tooLarge):
		refuse(w, http.StatusRequestEntityTooLarge, mcp.CodeInvalidRequest, "the message is too long")
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(w, http.StatusRequestTimeout, mcp.CodeInvalidRequest, "the message did not arrive in time")
	default:
		refuse(w, http.StatusBadRequest, mcp.CodeInvalidRequest, "the message did not arrive")
	}
	return nil, false
}
