// Package worker is the life of a worker: it carries the bytes of clients, over TCP and HTTP, on one loop.
package worker

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/accesslog"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// The values of "frontend" in the access log.
const (
	frontendTCP   = "tcp"
	frontendHTTP  = "http"
	frontendHTTPS = "https"
)

// Longest texts of a line, in bytes as JSON has them. All of them fit into accesslog.MaxLine.
const (
	accessWord  = 64 // method, protocol version
	accessName  = 128
	accessAgent = 256
	accessPath  = 1024
)

// access is a worker's access log. It belongs to the loop.
type access struct {
	log   *accesslog.Log // nil: off
	spare *accessEntry   // linked by next
	quota refusalQuota
}

// accessEntry is what becomes a line when a request or connection ends. Its methods do nothing for a
// nil entry, which is what there is while the log is off.
type accessEntry struct {
	next    *accessEntry
	request []byte // members of the line, taken from the request's head while it was there
	client  netip.Addr
	node    string // the last one that was chosen
	began   int64
	headed  int64 // when the head of the response had come, 0 = never
	in, out uint64
	retries uint32
	status  int          // 0: none was sent
	reason  board.Reason // of a refusal, or noReason
	omitted uint32       // lines that this one stands for
}

const noReason board.Reason = -1

// apply takes over the specification: a changed path, or the same one opened anew.
func (a *access) apply(w *worker) {
	path := w.spec.AccessLog.File
	if a.log != nil {
		if a.log.Path() == path {
			a.log.Reopen()
			return
		}
		go a.log.Close() // it may take a while, and is nobody else's any more
		a.log = nil
	}
	if path == "" {
		return
	}
	logger, cell := w.log, w.cell
	a.log = accesslog.Open(accesslog.Options{
		Path:    path,
		Dropped: func(lines int) { cell.AccessLogDropped.Add(uint64(lines)) },
		Failed: func(what string, err error) {
			logger.Error(what+": lines are dropped", "file", path, "err", err)
		},
	})
}

// flush hands over what has been waiting for company.
func (a *access) flush(now int64) {
	if a.log != nil {
		a.tellOmitted(now)
		a.log.Flush()
	}
}

// close writes the last lines, those of what was cut off included, when the loop has ended.
func (a *access) close(w *worker) {
	if a.log == nil {
		return
	}
	for c := w.http.clients; c != nil; c = c.next {
		if c.x != nil {
			a.end(w, c.x.access, c.frontend())
			c.x.access = nil
		}
	}
	for _, b := range w.backends {
		if b == nil {
			continue
		}
		for p := b.pairs; p != nil; p = p.next {
			a.end(w, p.access, frontendTCP)
			p.access = nil
		}
	}
	a.quota.began = 0
	a.tellOmitted(w.loop.Now())
	a.log.Close()
	a.log = nil
}

// begin returns the entry of a connection, nil when the log is off.
func (a *access) begin(client netip.Addr, now int64) *accessEntry {
	if a.log == nil {
		return nil
	}
	e := a.spare
	if e == nil {
		e = new(accessEntry)
	} else {
		a.spare = e.next
	}
	*e = accessEntry{request: e.request[:0], client: client.Unmap(), began: now, reason: noReason}
	return e
}

// beginHTTP returns the entry of a request. No query, no session id and no cookie gets into the log:
// who has them is the client.
func (a *access) beginHTTP(w *worker, client netip.Addr, r *http1.Request) *accessEntry {
	e := a.begin(client, w.loop.Now())
	if e == nil {
		return nil
	}
	b := e.request
	b = accesslog.AppendString(append(b, `,"method":`...), r.Method, accessWord)
	b = accesslog.AppendString(append(b, `,"path":`...), w.http.loggedPath(r), accessPath)
	b = strconv.AppendBool(append(b, `,"session":`...), r.Get("mcp-session-id") != nil)
	b = appendMember(b, `,"version":`, r.Get("mcp-protocol-version"), accessWord)
	b = appendMember(b, `,"mcp_method":`, r.Get("mcp-method"), accessName)
	b = appendMember(b, `,"mcp_name":`, r.Get("mcp-name"), accessName)
	b = appendMember(b, `,"user_agent":`, r.Get("user-agent"), accessAgent)
	e.request = b
	return e
}

// loggedPath is what of a path may be known: of an endpoint of a legacy event stream, which may have its
// session id anywhere, only the prefix of its route. Where a node named an endpoint outside of the
// routes of such streams, its tag tells.
func (f *frontend) loggedPath(r *http1.Request) []byte {
	route := f.routeOf(r.Path)
	if route == nil || route.kind != legacySSE {
		if _, _, tagged := f.ring.Endpoint(*endOfTarget(r)); !tagged {
			return r.Path
		}
	}
	shown := 1 // the slash
	if route != nil {
		shown = max(shown, len(route.prefix))
	}
	return r.Path[:min(shown, len(r.Path))]
}

// appendMember appends a member, unless there is no value.
func appendMember(dst []byte, name string, value []byte, limit int) []byte {
	if value == nil {
		return dst
	}
	return accesslog.AppendString(append(dst, name...), value, limit)
}

// end writes the line of an entry, which is free then.
func (a *access) end(w *worker, e *accessEntry, frontend string) {
	if e == nil {
		return
	}
	if a.log != nil && a.takes(w, e, frontend) {
		if room := a.log.Line(); room != nil {
			a.log.Commit(e.append(room, frontend, w.loop.Now()))
		}
	}
	e.next, a.spare = a.spare, e
}

// takes reports whether the line of an entry is to be written.
func (a *access) takes(w *worker, e *accessEntry, frontend string) bool {
	if !e.isRefusal() {
		return true
	}
	a.tellOmitted(w.loop.Now())
	return a.quota.takes(e.client, w.board.Global().Seed, frontend, e.reason)
}

// frontend is by which the client came.
func (c *httpClient) frontend() string {
	if c.secure {
		return frontendHTTPS
	}
	return frontendHTTP
}

// logRefusal notes an answer of the balancer itself. One without a request that could be read is a
// line of its own.
func (c *httpClient) logRefusal(r policy.Refusal, length int) {
	w := c.w
	var e *accessEntry
	if c.x != nil {
		e = c.x.access
	} else {
		e = w.access.begin(c.addr, w.loop.Now())
	}
	e.refused(r.Reason)
	e.answered(r.Status, w.loop.Now())
	e.sent(length)
	if c.x == nil {
		w.access.end(w, e, c.frontend())
	}
}

func (e *accessEntry) at(b *backend) {
	if e != nil {
		e.node = b.name
	}
}

func (e *accessEntry) received(n int) {
	if e != nil {
		e.in += uint64(n)
	}
}

func (e *accessEntry) sent(n int) {
	if e != nil {
		e.out += uint64(n)
	}
}

func (e *accessEntry) again() {
	if e != nil {
		e.retries++
	}
}

func (e *accessEntry) answered(status int, now int64) {
	if e != nil {
		e.status, e.headed = status, now
	}
}

func (e *accessEntry) refused(reason board.Reason) {
	if e != nil {
		e.reason = reason
	}
}

// append appends the line.
func (e *accessEntry) append(dst []byte, frontend string, now int64) []byte {
	dst = time.Now().UTC().AppendFormat(append(dst, `{"time":"`...), "2006-01-02T15:04:05.000000Z07:00")
	dst = append(append(dst, `","frontend":"`...), frontend...)
	dst = append(dst, `","client":"`...)
	if e.client.IsValid() {
		dst = e.client.WithZone("").AppendTo(dst)
	}
	var room [accessName]byte
	dst = accesslog.AppendString(append(dst, `","node":`...), append(room[:0], e.node...), accessName)
	dst = append(dst, `,"reason":"`...)
	if e.reason != noReason {
		dst = append(dst, e.reason.String()...)
	}
	dst = strconv.AppendUint(append(dst, `","bytes_in":`...), e.in, 10)
	dst = strconv.AppendUint(append(dst, `,"bytes_out":`...), e.out, 10)
	dst = strconv.AppendInt(append(dst, `,"duration_us":`...), (now-e.began)/int64(time.Microsecond), 10)
	dst = strconv.AppendUint(append(dst, `,"retries":`...), uint64(e.retries), 10)
	if e.omitted > 0 {
		return append(strconv.AppendUint(append(dst, `,"omitted":`...), uint64(e.omitted), 10), "}\n"...)
	}
	if frontend != frontendTCP {
		dst = strconv.AppendInt(append(dst, `,"status":`...), int64(e.status), 10)
		dst = strconv.AppendInt(append(dst, `,"response_us":`...), max(0, e.headed-e.began)/int64(time.Microsecond), 10)
		dst = append(dst, e.request...)
	}
	return append(dst, "}\n"...)
}
