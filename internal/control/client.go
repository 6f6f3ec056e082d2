package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/tempo"
)

// ErrNotRunning is what errors of [Client] satisfy when no daemon answers the socket because none runs, or
// because the one that does is not up yet or about to end.
var ErrNotRunning = errors.New("not running")

// NotRunning reports whether err says that there is no daemon: not even one that is not up yet, or about to end.
func NotRunning(err error) bool { return errors.Is(err, ErrNotRunning) && !Between(err) }

// NoSocketError says that a daemon runs, as its lock tells, but has no socket to ask it by. It matches
// [ErrNotRunning] while the daemon is starting or ending.
type NoSocketError struct {
	Name, Socket string
	PID          int // 0 when it cannot be told
	phase        phase
}

func (e *NoSocketError) Error() string {
	as := ""
	if e.PID != 0 {
		as = fmt.Sprintf(" as pid %d", e.PID)
	}
	switch e.phase {
	case starting:
		return fmt.Sprintf("%s is starting%s, and does not answer yet", e.Name, as)
	case ending:
		return fmt.Sprintf("%s is ending%s, and does not answer any more", e.Name, as)
	}
	return fmt.Sprintf("%s is running%s, but its socket is gone: %s was removed, and not made anew", e.Name, as, e.Socket)
}

// Is makes the error match ErrNotRunning before the daemon is up and when it has begun to end.
func (e *NoSocketError) Is(target error) bool { return target == ErrNotRunning && !e.Lost() }

// Between reports whether a daemon cannot be asked although there is one: it is not up yet, about to end, or its
// socket is gone.
func Between(err error) bool { return errors.As(err, new(*NoSocketError)) }

// Lost reports whether the socket was removed, by somebody else than the daemon.
func (e *NoSocketError) Lost() bool { return e.phase != starting && e.phase != ending }

// Hint is the way out.
func (e *NoSocketError) Hint() string {
	switch {
	case !e.Lost():
		return "ask again in a moment"
	case e.PID == 0:
		return "end the process that holds its lock, which fuser or lslocks name, and start it again"
	}
	return fmt.Sprintf("a %s that hangs does not make it anew: kill -TERM %d ends it, kill -KILL %d if that does not help; then start it again", e.Name, e.PID, e.PID)
}

// Client talks to the daemon of a state directory. It keeps no connection and needs no closing. It
// is safe for concurrent use.
type Client struct {
	dir, name string
	http      http.Client
}

// NewClient returns a client of the daemon name in dir. The daemon need not run yet.
func NewClient(dir, name string) *Client {
	c := &Client{dir: dir, name: name}
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}
	return c
}

const (
	// patience is how long the socket of a daemon that serves may be missing: twice as long as one takes to
	// notice, and to make it anew.
	patience  = 2 * time.Second
	dialPause = 20 * time.Millisecond
)

// dial connects to the daemon, if all on the way there can be believed.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	for deadline := time.Now().Add(patience); ; {
		conn, err := c.connect(ctx)
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
		h, held, err := holderOf(c.dir, c.name)
		if err != nil {
			return nil, err
		}
		if !held {
			return nil, fmt.Errorf("%s is %w", c.name, ErrNotRunning)
		}
		gone := &NoSocketError{c.name, filepath.Join(c.dir, c.name+".sock"), h.pid, h.phase}
		if !gone.Lost() || time.Now().After(deadline) {
			return nil, gone
		}
		if err := tempo.Pause(ctx, dialPause); err != nil {
			return nil, err
		}
	}
}

func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	p, err := look(c.dir, false)
	if err != nil {
		return nil, err
	}
	path, err := p.socketName(c.name)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	if err == nil {
		err = p.trust(step{path, info}, fs.ModeSocket)
	}
	if errors.Is(err, fs.ErrPermission) {
		err = p.deniedHere(path)
	}
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, p.deniedHere(path)
	}
	if err != nil {
		return nil, err
	}
	uid, err := peer(conn.(*net.UnixConn))
	if err == nil && uid != p.owner {
		err = &DirError{p.given, fmt.Sprintf("is not believed: a process of %s, not of %s, is at the other end of its socket", userText(uid), userText(p.owner)), "see who that is, and end it"}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// Do sends in (nil: no body) as JSON and decodes the reply into out (nil: ignored). The error is
// ErrNotRunning when nothing listens, and *[Error] when the daemon refuses. How long to wait is up
// to ctx.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	body, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return c.broken(ctx, err)
	}
	return nil
}

// Stream gets path and calls each with every JSON value of the reply, as they come, until the reply
// ends, each fails, or ctx ends. The value is valid during the call only.
func (c *Client) Stream(ctx context.Context, path string, each func(json.RawMessage) error) error {
	body, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	dec := json.NewDecoder(body)
	var value json.RawMessage
	for {
		value = value[:0]
		switch err := dec.Decode(&value); {
		case err == io.EOF:
			return nil
		case err != nil:
			return c.broken(ctx, err)
		}
		if err := each(value); err != nil {
			return err
		}
	}
}

func (c *Client) send(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	if err := checkLength(c.dir, filepath.Join(c.dir, c.name+".sock")); err != nil {
		if _, there := look(c.dir, false); there != nil {
			return nil, err
		}
	}
	var payload io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		payload = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.name+path, payload)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, c.refusal(resp)
	}
	return resp.Body, nil
}

// broken explains why no (whole) reply came.
func (c *Client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s does not answer: %w", c.name, ctx.Err())
	}
	if dir := new(DirError); errors.As(err, &dir) {
		return dir
	}
	if gone := new(NoSocketError); errors.As(err, &gone) {
		return gone
	}
	switch {
	case errors.Is(err, ErrNotRunning):
		return fmt.Errorf("%s is %w", c.name, ErrNotRunning)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%s ended while it was asked: %w", c.name, ErrNotRunning)
	}
	return fmt.Errorf("%s: %w", c.name, err)
}

func (c *Client) refusal(resp *http.Response) error {
	var e envelope
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if json.Unmarshal(text, &e) != nil || e.Error == nil {
		e.Error = &Error{Message: fmt.Sprintf("%s answered %s", c.name, resp.Status)}
	}
	e.Error.Status = resp.StatusCode
	return e.Error
}
