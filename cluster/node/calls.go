package node

import (
	"context"
	"sync"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// calls counts what has been asked over HTTP and is not answered: requests that carry a message, and, because
// they may be answered on another stream, the messages themselves.
type calls struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n falls to 0; nil when nobody waits
}

func (c *calls) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.none != nil {
		close(c.none)
		c.none = nil
	}
}

// quiet returns a channel that is closed when there are no requests. It is for one waiter.
func (c *calls) quiet() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	none := make(chan struct{})
	if c.n == 0 {
		close(none)
	} else {
		c.none = none
	}
	return none
}

// count is an sdk.Middleware that counts messages while they are handled, except for those that ask for
// a stream without end.
func (c *calls) count(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
		if method != mcp.MethodListen {
			c.begin()
			defer c.end()
		}
		return next(ctx, method, r)
	}
}
