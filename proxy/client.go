package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/tempo"
)

// Client asks the balancer of a state directory. Its methods fail with control.ErrNotRunning when
// there is none and with *control.Error when it refuses. A client (an argument of Ban, Unban and
// Explain) is an IP address; an IPv6 address stands for its /64.
type Client struct {
	control *control.Client
	dir     string
}

// Connect returns a client for the balancer of stateDir, which need not run.
func Connect(stateDir string) *Client {
	return &Client{control: control.NewClient(stateDir, DaemonName), dir: stateDir}
}

// do asks, and reads the answer.
func do[T any](ctx context.Context, c *Client, method, path string, in any) (answer T, err error) {
	err = c.control.Do(ctx, method, path, in, &answer)
	return answer, err
}

// Stats returns what the balancer is doing.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	return do[Stats](ctx, c, http.MethodGet, PathStats, nil)
}

// Token returns the secret that commands of the admin listener need. It lasts as long as the balancer.
func (c *Client) Token(ctx context.Context) (string, error) {
	return do[string](ctx, c, http.MethodGet, PathToken, nil)
}

// Drain gives a node no new clients. Those it has stay.
func (c *Client) Drain(ctx context.Context, node string) (NodeStats, error) {
	return do[NodeStats](ctx, c, http.MethodPost, nodePath(PathDrain, node), nil)
}

// Disable gives a node nothing more, not even requests of sessions it has. What is under way may end.
func (c *Client) Disable(ctx context.Context, node string) (NodeStats, error) {
	return do[NodeStats](ctx, c, http.MethodPost, nodePath(PathDisable, node), nil)
}

// Enable puts a drained or disabled node back into service.
func (c *Client) Enable(ctx context.Context, node string) (NodeStats, error) {
	return do[NodeStats](ctx, c, http.MethodPost, nodePath(PathEnable, node), nil)
}

func nodePath(pattern, node string) string {
	return strings.Replace(pattern, "{name}", url.PathEscape(node), 1)
}

// Bans lists the clients that are shut out, the one that is free first at the top.
func (c *Client) Bans(ctx context.Context) ([]BanStatus, error) {
	return do[[]BanStatus](ctx, c, http.MethodGet, PathBans, nil)
}

// Ban shuts a client out for that long, 0 meaning Spec.Limits.Ban.For. Its connections stay. A
// longer ban stays as well.
func (c *Client) Ban(ctx context.Context, client string, long time.Duration) (BanStatus, error) {
	return do[BanStatus](ctx, c, http.MethodPost, PathBans, ClientRequest{client, long})
}

// Unban lifts a ban.
func (c *Client) Unban(ctx context.Context, client string) error {
	return c.control.Do(ctx, http.MethodPost, PathUnban, ClientRequest{Client: client}, nil)
}

// Explain says what would happen to a client that connected now, and why.
func (c *Client) Explain(ctx context.Context, client string) (Explanation, error) {
	return do[Explanation](ctx, c, http.MethodPost, PathExplain, ClientRequest{Client: client})
}

// ExplainTag says which node a session id (TagSession) or cookie value (TagCookie) of a client names.
func (c *Client) ExplainTag(ctx context.Context, kind, value string) (TagExplanation, error) {
	return do[TagExplanation](ctx, c, http.MethodPost, PathTag, TagRequest{kind, value})
}

// PlanReload says what Reload would do now, and changes nothing.
func (c *Client) PlanReload(ctx context.Context) (Reloaded, error) {
	return do[Reloaded](ctx, c, http.MethodGet, PathReload, nil)
}

// Reload has the balancer read its configuration again. On an error it goes on with the old one.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	return do[Reloaded](ctx, c, http.MethodPost, PathReload, nil)
}

// Stop has the balancer drain and end, and returns when it has. When ctx ends first, it goes on
// draining. progress, if not nil, is called with the number of connections left, now and then.
func (c *Client) Stop(ctx context.Context, progress func(connections int64)) error {
	return c.stop(ctx, StopRequest{}, progress)
}

// StopNow has the balancer end at once, without regard to connections, and returns when it has. One
// that does not answer is killed.
func (c *Client) StopNow(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := c.stop(asking, StopRequest{AtOnce: true}, nil)
	lost := control.Between(err)
	if !lost && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	pid, running, err := control.Running(c.dir, DaemonName)
	if err != nil || !running {
		return err
	}
	if err := control.Signal(c.dir, DaemonName, pid, syscall.SIGKILL); errors.As(err, new(*control.StrangerError)) {
		return err
	} else if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s (pid %d): %w", DaemonName, pid, err)
	}
	dying, cancel := context.WithTimeoutCause(ctx, deathPatience, fmt.Errorf("%s (pid %d) was killed, but does not end", DaemonName, pid))
	defer cancel()
	return c.gone(dying, nil)
}

const (
	// answerTimeout is how long a balancer may take to end at once.
	answerTimeout = 5 * time.Second
	// deathPatience is how long one that was killed may take: its sockets are many.
	deathPatience = 30 * time.Second
)

// stop asks the balancer to end, once it is up, and waits for it.
func (c *Client) stop(ctx context.Context, q StopRequest, progress func(int64)) error {
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for {
		err := c.control.Do(asking, http.MethodPost, PathStop, q, nil)
		if err == nil {
			return c.gone(ctx, progress)
		}
		between := new(control.NoSocketError)
		if !errors.As(err, &between) || between.Lost() {
			return err
		}
		if tempo.Pause(asking, stopPause) != nil { // it is starting, or ending
			return between
		}
	}
}

// stopPause is between two looks whether the balancer has ended.
const stopPause = 50 * time.Millisecond

// gone returns when the balancer has ended.
func (c *Client) gone(ctx context.Context, progress func(int64)) error {
	for range tempo.AtOnce(ctx, stopPause) {
		if _, ok, err := control.Running(c.dir, DaemonName); !ok {
			return err
		}
		if progress != nil {
			s, err := c.Stats(ctx)
			switch {
			case err == nil:
				progress(s.Connections.Active)
			case !errors.Is(err, control.ErrNotRunning):
				return err
			}
		}
	}
	return context.Cause(ctx)
}
