package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
)

// ErrNotRunning is what errors of [Client] satisfy when no daemon answers the socket.
var ErrNotRunning = errors.New("not running")

// Client talks to the daemon of a state directory. It keeps no connection and needs no closing. It
// is safe for concurrent use.
type Client struct {
	name   string
	socket string
	err    error // why there can be no socket
	http   http.Client
}

// NewClient returns a client of the daemon name in dir. The daemon need not run yet.
func NewClient(dir, name string) *Client {
	c := &Client{name: name}
	c.socket, c.err = socketPath(dir, name)
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.socket)
		},
	}
	return c
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
	if c.err != nil {
		return nil, c.err
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
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s does not answer: %w", c.name, ctx.Err())
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
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
