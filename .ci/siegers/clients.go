package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/coder/websocket"

	"github.com/erlmcp/erlmcp/internal/mcp"
)

// Good clients come, call at an easy pace, go, and come again.
const (
	goodOfAKind = 40
	callEvery   = 500 * time.Millisecond
	callsAVisit = 10
	patience    = 10 * time.Second // for one answer
)

// caller is a client that is connected.
type caller interface {
	call() error
	close()
}

// kinds of good clients.
var kinds = []struct {
	name string
	open func(ctx context.Context, s *system, from netip.Addr) (caller, error)
}{
	{"TCP lines", openLines},
	{"HTTP sessions", openSession},
	{"HTTPS", openSecure},
	{"legacy SSE", openEvents},
	{"WebSocket", openSocket},
}

// service is what good clients of one kind have got.
type service struct {
	kind            string
	calls, openings *hdrhistogram.Histogram // microseconds
	refused, failed int
	problem         string // the first one
}

// serveAll has all good clients call until ctx ends.
func serveAll(ctx context.Context, s *system) []*service {
	all := make([]*service, len(kinds))
	var calling sync.WaitGroup
	for k, kind := range kinds {
		var mu sync.Mutex
		got := newService(kind.name)
		all[k] = got
		for i := range goodOfAKind {
			g := good{mu: &mu, got: got, open: func() (caller, error) {
				return kind.open(context.WithoutCancel(ctx), s, netip.AddrFrom4([4]byte{127, 10, byte(k), byte(i + 1)}))
			}}
			calling.Go(func() { g.visit(ctx) })
		}
	}
	calling.Wait()
	return all
}

func newService(kind string) *service {
	histogram := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3) }
	return &service{kind: kind, calls: histogram(), openings: histogram()}
}

// good is one client.
type good struct {
	open func() (caller, error)
	mu   *sync.Mutex // guards got
	got  *service
}

// visit comes and goes until ctx ends. The time of an answer counts from when it was to be asked for: who waits for
// one is late with the next.
func (g *good) visit(ctx context.Context) {
	due := time.Now().Add(rand.N(callsAVisit * callEvery))
	first := rand.N(callsAVisit) // so that they do not all come anew at once
	for pause(ctx, time.Until(due)) {
		began := time.Now()
		c, err := g.open()
		g.record(g.got.openings, time.Since(began), err)
		if due = time.Now().Add(callEvery); err != nil {
			continue
		}
		for range callsAVisit - first {
			if !pause(ctx, time.Until(due)) {
				break
			}
			err := c.call()
			if g.record(g.got.calls, time.Since(due), err); err != nil {
				break
			}
			due = due.Add(callEvery)
		}
		first = 0
		c.close()
	}
}

func (g *good) record(h *hdrhistogram.Histogram, took time.Duration, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		_ = h.RecordValue(min(max(took.Microseconds(), 1), int64(time.Minute/time.Microsecond))) // in range
		return
	}
	if g.got.problem == "" {
		g.got.problem = err.Error()
	}
	if refusal := (refusedError{}); errors.As(err, &refusal) {
		g.got.refused++
	} else {
		g.got.failed++
	}
}

// refusedError is an answer that says no.
type refusedError struct{ text string }

func (e refusedError) Error() string { return e.text }

// pause waits, and reports that there is more time.
func pause(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"good","version":"1"}}}`

const initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`

// callText is a call of the session era.
func callText(id uint64) []byte {
	return bytes.TrimSpace(mcp.AppendToolCall(nil, id, "whoami", mcp.SessionEra))
}

// judge looks at an answer of a call.
func judge(answer []byte, id uint64) error {
	r, err := mcp.ParseReply(bytes.TrimSpace(answer))
	if err != nil {
		return fmt.Errorf("%w: %.100q", err, answer)
	}
	if r.Err != nil {
		return refusedError{r.Err.Error()}
	}
	if n, ok := r.Number(); !ok || n != id {
		return fmt.Errorf("the answer to %d is %.100q", id, answer)
	}
	return nil
}

func dialer(from netip.Addr) *net.Dialer {
	return &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: patience, Control: bindAddressOnly}
}

// lines is a client over TCP.
type lines struct {
	net.Conn
	in *bufio.Reader
	id uint64
}

func openLines(ctx context.Context, s *system, from netip.Addr) (caller, error) {
	conn, err := dialer(from).DialContext(ctx, "tcp4", s.TCP)
	if err != nil {
		return nil, err
	}
	c := &lines{Conn: conn, in: bufio.NewReader(conn)}
	return opened(c, c.call()) // its node is known from then on
}

// opened closes a client whose opening has failed.
func opened(c caller, err error) (caller, error) {
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *lines) call() error {
	c.id++
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write(mcp.AppendToolCall(nil, c.id, "whoami", mcp.StatelessEra)); err != nil {
		return err
	}
	answer, err := c.in.ReadBytes('\n')
	if err != nil {
		return err
	}
	return judge(answer, c.id)
}

func (c *lines) close() { _ = c.Close() }

// web is a client over HTTP.
type web struct {
	http.Client
	url    string
	header http.Header
	id     uint64
}

func newWeb(from netip.Addr, url string, config *tls.Config) *web {
	return &web{
		Client: http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dialer(from).DialContext, TLSClientConfig: config}},
		url:    url,
		header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}},
	}
}

// post says something and returns the answer, which has the given status.
func (c *web) post(ctx context.Context, text []byte, status int) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	req.Header = c.header.Clone()
	resp, err := c.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != status {
		err = refusedError{fmt.Sprintf("%s: %.200s", resp.Status, body)}
	}
	return resp, body, err
}

// ask posts the call that c.id is of.
func (c *web) ask(text []byte) error {
	_, answer, err := c.post(context.Background(), text, http.StatusOK)
	if err != nil {
		return err
	}
	return judge(answer, c.id)
}

func (c *web) close() { c.CloseIdleConnections() }

// session is a client of Streamable HTTP in the session era.
type session struct{ *web }

func openSession(ctx context.Context, s *system, from netip.Addr) (caller, error) {
	c := session{newWeb(from, "http://"+s.HTTP+"/mcp", nil)}
	resp, _, err := c.post(ctx, []byte(initialize), http.StatusOK)
	if err == nil {
		c.header.Set(mcp.HeaderSessionID, resp.Header.Get(mcp.HeaderSessionID))
		c.header.Set(mcp.HeaderProtocolVersion, mcp.Version20250618)
		_, _, err = c.post(ctx, []byte(initialized), http.StatusAccepted)
	}
	return opened(c, err)
}

func (c session) call() error {
	c.id++
	return c.ask(callText(c.id))
}

// close ends the session, too.
func (c session) close() {
	if req, err := http.NewRequest(http.MethodDelete, c.url, http.NoBody); err == nil {
		req.Header = c.header.Clone()
		if resp, err := c.Do(req); err == nil {
			resp.Body.Close()
		}
	}
	c.web.close()
}

// secure is a client of Streamable HTTP in the stateless era, over TLS.
type secure struct{ *web }

func openSecure(ctx context.Context, s *system, from netip.Addr) (caller, error) {
	config, err := trusting(s)
	if err != nil {
		return nil, err
	}
	c := secure{newWeb(from, "https://"+s.HTTPS+"/mcp", config)}
	c.header.Set(mcp.HeaderProtocolVersion, mcp.Version20260728)
	c.header.Set(mcp.HeaderMethod, mcp.MethodCallTool)
	c.header.Set(mcp.HeaderName, "whoami")
	return opened(c, c.call())
}

func (c secure) call() error {
	c.id++
	return c.ask(bytes.TrimSpace(mcp.AppendToolCall(nil, c.id, "whoami", mcp.StatelessEra)))
}

// events is a client of the HTTP+SSE transport of 2024-11-05.
type events struct {
	*web
	cancel context.CancelFunc
	stream io.Closer
	in     *bufio.Reader
}

func openEvents(ctx context.Context, s *system, from netip.Addr) (caller, error) {
	c := &events{web: newWeb(from, "http://"+s.HTTP+"/mcp/sse", nil)}
	c.Timeout = 0 // of the stream
	ctx, c.cancel = context.WithCancel(ctx)
	hurry := time.AfterFunc(patience, c.cancel)
	defer hurry.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	c.stream, c.in = resp.Body, bufio.NewReader(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return opened(c, refusedError{resp.Status})
	}
	endpoint, err := nextEvent(c.in)
	if err != nil {
		return opened(c, err)
	}
	c.url = "http://" + s.HTTP + string(endpoint)
	if err = c.say(ctx, []byte(initialize), 0); err == nil {
		_, _, err = c.post(ctx, []byte(initialized), http.StatusAccepted)
	}
	return opened(c, err)
}

// nextEvent is the data of the next event of a stream.
func nextEvent(in *bufio.Reader) (data []byte, err error) {
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			return bytes.TrimSpace(data), nil
		}
	}
}

// say posts a call, and waits for its answer on the stream.
func (c *events) say(ctx context.Context, text []byte, id uint64) error {
	hurry := time.AfterFunc(patience, c.cancel)
	defer hurry.Stop()
	if _, _, err := c.post(ctx, text, http.StatusAccepted); err != nil {
		return err
	}
	answer, err := nextEvent(c.in)
	if err != nil {
		return err
	}
	return judge(answer, id)
}

func (c *events) call() error {
	c.id++
	return c.say(context.Background(), callText(c.id), c.id)
}

func (c *events) close() {
	c.cancel()
	_ = c.stream.Close()
	c.web.close()
}

// socket is a client over WebSocket.
type socket struct {
	*websocket.Conn
	id uint64
}

func openSocket(ctx context.Context, s *system, from netip.Addr) (caller, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := newWeb(from, "", nil)
	client.Timeout = 0 // of the socket
	conn, resp, err := websocket.Dial(ctx, "ws://"+s.HTTP+"/mcp/ws", &websocket.DialOptions{HTTPClient: &client.Client, Subprotocols: []string{"mcp"}})
	if err != nil {
		if resp != nil {
			err = refusedError{err.Error()}
		}
		return nil, err
	}
	c := &socket{Conn: conn}
	if err = c.say(initialize, 0); err == nil {
		err = conn.Write(ctx, websocket.MessageText, []byte(initialized))
	}
	return opened(c, err)
}

func (c *socket) say(text string, id uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return err
	}
	_, answer, err := c.Read(ctx)
	if err != nil {
		return err
	}
	return judge(answer, id)
}

func (c *socket) call() error {
	c.id++
	return c.say(string(callText(c.id)), c.id)
}

func (c *socket) close() { _ = c.CloseNow() }

// total is all kinds in one.
func total(all []*service) *service {
	sum := newService("all")
	for _, one := range all {
		sum.calls.Merge(one.calls)
		sum.openings.Merge(one.openings)
		sum.refused += one.refused
		sum.failed += one.failed
		if sum.problem == "" && one.problem != "" {
			sum.problem = strings.TrimSpace(one.kind + ": " + one.problem)
		}
	}
	return sum
}
