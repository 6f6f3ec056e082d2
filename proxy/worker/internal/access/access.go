// Package access is the access log of a worker: what its frontends note of a request or a connection, and the line that
// becomes of it.
package access

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
	FrontendTCP   = "tcp"
	FrontendHTTP  = "http"
	FrontendHTTPS = "https"
)

// longestName is the longest name in a line, in bytes as JSON has it.
const longestName = 128

// Log is a worker's access log. It belongs to the loop.
type Log struct {
	log   *accesslog.Log // nil: off
	Seed  uint64         // of the quota's buckets
	spare *Entry         // linked by next
	quota refusalQuota
}

// Entry is what becomes a line when a request or connection ends. Its methods do nothing for a
// nil entry, which is what there is while the log is off.
type Entry struct {
	next    *Entry
	Request []byte // members of the line, taken from the request's head while it was there
	Client  netip.Addr
	Node    string // the last one that was chosen
	began   int64
	headed  int64 // when the head of the response had come, 0 = never
	In, Out uint64
	Retries uint32
	status  int          // 0: none was sent
	reason  board.Reason // of a refusal, or noReason
	omitted uint32       // lines that this one stands for
}

// noReason is that of an entry of what was served.
const noReason board.Reason = -1

// Follow has lines written to path from now on: another one, or the same one opened anew. "" is off. What is dropped is
// counted in cell.
func (a *Log) Follow(path string, cell *board.Worker, logger *log.Logger) {
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

// Flush hands over what has been waiting for company.
func (a *Log) Flush(now int64) {
	if a.log != nil {
		a.tellOmitted(now)
		a.log.Flush()
	}
}

// Close writes the last lines, when the loop has ended.
func (a *Log) Close(now int64) {
	if a.log == nil {
		return
	}
	a.quota.began = 0
	a.tellOmitted(now)
	a.log.Close()
	a.log = nil
}

// Trim drops what is kept for reuse.
func (a *Log) Trim() { a.spare = nil }

// Begin returns the entry of a connection, nil when the log is off.
func (a *Log) Begin(client netip.Addr, now int64) *Entry {
	if a.log == nil {
		return nil
	}
	e := a.spare
	if e == nil {
		e = new(Entry)
	} else {
		a.spare = e.next
	}
	*e = Entry{Request: e.Request[:0], Client: client.Unmap(), began: now, reason: noReason}
	return e
}

// End writes the line of an entry, which is free then.
func (a *Log) End(e *Entry, frontend string, now int64) {
	if e == nil {
		return
	}
	if a.log != nil && a.takes(e, frontend, now) {
		if room := a.log.Line(); room != nil {
			a.log.Commit(e.Append(room, frontend, now))
		}
	}
	e.next, a.spare = a.spare, e
}

// takes reports whether the line of an entry is to be written.
func (a *Log) takes(e *Entry, frontend string, now int64) bool {
	if !e.isRefusal() {
		return true
	}
	a.tellOmitted(now)
	return a.quota.takes(e.Client, a.Seed, frontend, e.reason)
}

// At notes the node that was chosen last.
func (e *Entry) At(node string) {
	if e != nil {
		e.Node = node
	}
}

// Received notes that so many bytes have come from the client.
func (e *Entry) Received(n int) {
	if e != nil {
		e.In += uint64(n)
	}
}

// Sent notes that so many bytes go to the client.
func (e *Entry) Sent(n int) {
	if e != nil {
		e.Out += uint64(n)
	}
}

// Again notes that another node is tried.
func (e *Entry) Again() {
	if e != nil {
		e.Retries++
	}
}

// Answered notes the status that the client gets.
func (e *Entry) Answered(status int, now int64) {
	if e != nil {
		e.status, e.headed = status, now
	}
}

// Refused notes why something was refused or cut.
func (e *Entry) Refused(reason board.Reason) {
	if e != nil {
		e.reason = reason
	}
}

// Append appends the line.
func (e *Entry) Append(dst []byte, frontend string, now int64) []byte {
	dst = time.Now().UTC().AppendFormat(append(dst, `{"time":"`...), "2006-01-02T15:04:05.000000Z07:00")
	dst = append(append(dst, `","frontend":"`...), frontend...)
	dst = append(dst, `","client":"`...)
	if e.Client.IsValid() {
		dst = e.Client.WithZone("").AppendTo(dst)
	}
	var room [longestName]byte
	dst = accesslog.AppendString(append(dst, `","node":`...), append(room[:0], e.Node...), longestName)
	dst = append(dst, `,"reason":"`...)
	if e.reason != noReason {
		dst = append(dst, e.reason.String()...)
	}
	dst = strconv.AppendUint(append(dst, `","bytes_in":`...), e.In, 10)
	dst = strconv.AppendUint(append(dst, `,"bytes_out":`...), e.Out, 10)
	dst = strconv.AppendInt(append(dst, `,"duration_us":`...), (now-e.began)/int64(time.Microsecond), 10)
	dst = strconv.AppendUint(append(dst, `,"retries":`...), uint64(e.Retries), 10)
	if e.omitted > 0 {
		return append(strconv.AppendUint(append(dst, `,"omitted":`...), uint64(e.omitted), 10), "}\n"...)
	}
	if frontend != FrontendTCP {
		dst = strconv.AppendInt(append(dst, `,"status":`...), int64(e.status), 10)
		dst = strconv.AppendInt(append(dst, `,"response_us":`...), max(0, e.headed-e.began)/int64(time.Microsecond), 10)
		dst = append(dst, e.Request...)
	}
	return append(dst, "}\n"...)
}
