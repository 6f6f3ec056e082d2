package cmd

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// reviver is a client that begins a new session by itself when its own is gone, as the specification has it
// (2025-11-25, Transports, Session Management): "When a client receives HTTP 404 in response to a request
// containing an MCP-Session-Id, it MUST start a new session by sending a new InitializeRequest without a
// session ID attached."
//
// The Go SDK (v1.8.0) does not: it reports sdk.ErrSessionMissing, ends the session and leaves the rest to the
// caller. Neither do the TypeScript SDKs: they throw the 404 at every call, as StreamableHTTPError (1.32.2) and
// SdkHttpError (2.4.0).
type reviver struct {
	client   *sdk.Client
	endpoint string
	web      *http.Client
	session  *sdk.ClientSession // nil: to be begun
	begun    int                // sessions so far
	lost     int                // calls that were answered with 502
}

// call calls a tool, in a new session if the present one is gone. A call that was under way when its node
// died is answered with 502: whether it was carried out is not known. It is made again, so it must be
// one that does no harm twice.
func (r *reviver) call(ctx context.Context, params *sdk.CallToolParams) (*sdk.CallToolResult, error) {
	for {
		if r.session == nil {
			transport := &sdk.StreamableClientTransport{Endpoint: r.endpoint, HTTPClient: r.web}
			session, err := r.client.Connect(ctx, transport, &sdk.ClientSessionOptions{ProtocolVersion: mcp.Version20251125})
			if err != nil {
				return nil, err
			}
			r.session = session
			r.begun++
		}
		result, err := r.session.CallTool(ctx, params)
		switch {
		case isGone(err):
			_ = r.session.Close()
			r.session = nil
		case isLost(err):
			r.lost++
		default:
			return result, err
		}
	}
}

// isGone reports whether the session of a call has ended with a 404. When the client has learned that by its
// own stream of events, the SDK says so in the text of the error only.
func isGone(err error) bool {
	return errors.Is(err, sdk.ErrSessionMissing) ||
		errors.Is(err, sdk.ErrConnectionClosed) && strings.Contains(err.Error(), sdk.ErrSessionMissing.Error())
}

// isLost reports whether a call was answered with 502.
func isLost(err error) bool {
	const rejected = -32005 // the SDK's code for a status that does not end the session
	var wire *jsonrpc.Error
	return errors.As(err, &wire) && wire.Code == rejected && strings.Contains(err.Error(), http.StatusText(http.StatusBadGateway))
}

// revivedSessions keeps a client calling while the node of its session is stopped, and another one while its
// node is killed: no call fails.
func revivedSessions(ctx context.Context, t *testing.T, c *clusterFixture, base string, web *http.Client) {
	for _, death := range [][]string{{"stop", "--drain-timeout", "100ms"}, {"kill", "--hold"}} {
		t.Run(death[0], func(t *testing.T) {
			ctx, stop := context.WithCancel(ctx)
			r := &reviver{client: sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil), endpoint: base + "/mcp", web: web}
			answers := make(chan string)
			ended := make(chan error, 1)
			go func() { ended <- r.callOn(ctx, answers) }()
			defer func() {
				stop()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("a call has failed: %v", err)
				}
				if r.begun != 2 {
					t.Errorf("%d sessions were begun, want 2", r.begun)
				}
				if r.session != nil {
					_ = r.session.Close()
				}
				t.Logf("%d sessions, %d calls lost with their node and made again, none failed", r.begun, r.lost)
			}()
			home := <-answers
			killed := make(chan error, 1)
			go func() { killed <- c.command(append([]string{"cluster", death[0], home}, death[1:]...)...).Run() }()
			defer c.restart(home)
			before, after := 1, 0
			for after < 20 {
				select {
				case node := <-answers:
					if node == home {
						before++
					} else {
						after++
					}
				case err := <-ended:
					ended <- err
					return
				}
			}
			if err := <-killed; err != nil {
				t.Errorf("%v %s: %v", death, home, err)
			}
			t.Logf("%d calls on %s, which died, then %d on others", before, home, after)
		})
	}
}

// callOn asks who answers again and again, until a call fails or ctx ends.
func (r *reviver) callOn(ctx context.Context, answers chan<- string) error {
	for {
		result, err := r.call(ctx, whoami())
		if err != nil {
			return err
		}
		select {
		case answers <- nodeOf(result):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
