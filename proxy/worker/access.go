// Package worker is the life of a worker: it carries the bytes of clients, over TCP and HTTP, on one loop.
package worker

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/proxy/internal/accesslog"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// The values of "frontend" in the access log.
const (
	frontendTCP   = "tcp"
	frontendHTTP  = "http"
	frontendHTTPS = "https"
)

// accessName is the longest name in a line, in bytes as JSON has it.
const accessName = 128

// access is a worker's access log. It belongs to the loop.
type access struct {
	log   *accesslog.Log // nil: off
	seed  uint64         // of the quota's buckets
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

// follow has lines written to path from now on: another one, or the same one opened anew. "" is off. What is dropped is
// counted in cell.
func (a *access) follow(path string, cell *board.Worker, logger *log.Logger) {
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

// close writes the last lines, when the loop has ended.
func (a *access) close(now int64) {
	if a.log == nil {
		return
	}
	a.quota.began = 0
	a.tellOmitted(now)
	a.log.Close()
	a.log = nil
}

// trim drops what is kept for reuse.
func (a *access) trim() { a.spare = nil }

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

// end writes the line of an entry, which is free then.
func (a *access) end(e *accessEntry, frontend string, now int64) {
	if e == nil {
		return
	}
	if a.log != nil && a.takes(e, frontend, now) {
		if room := a.log.Line(); room != nil {
			a.log.Commit(e.append(room, frontend, now))
		}
	}
	e.next, a.spare = a.spare, e
}

// takes reports whether the line of an entry is to be written.
func (a *access) takes(e *accessEntry, frontend string, now int64) bool {
	if !e.isRefusal() {
		return true
	}
	a.tellOmitted(now)
	return a.quota.takes(e.client, a.seed, frontend, e.reason)
}

// at notes the node that was chosen last.
func (e *accessEntry) at(node string) {
	if e != nil {
		e.node = node
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
