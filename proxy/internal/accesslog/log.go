// Package accesslog writes lines about finished requests to a file without holding up an event loop.
//
//	loop ─ Line, Commit ─▶ [buffer] ═▶ writer ─▶ file
//	                    ◀═ [buffer] ◀─
//
// There are two buffers, and no others: when the writer has both, lines are dropped and counted. A
// buffer always holds whole lines and is written at once, to a file opened for appending, so lines of
// several processes do not mix.
package accesslog

import (
	"bytes"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// MaxLine is the longest line, its end included. It is what a pipe takes in one piece.
const MaxLine = 4096

const (
	bufferSize = 64 << 10
	lookEvery  = time.Second // for a file that was renamed or removed
	closeTime  = time.Second // less than the master's drainGrace
	// Standard is the path of the standard output.
	Standard = "-"
)

// Options of a Log.
type Options struct {
	Path    string
	Dropped func(lines int)              // is told of lost lines, from any goroutine
	Failed  func(what string, err error) // is told why, from the writer, once a second at most
}

// Log is a log. Line, Commit and Flush are for one goroutine, which they never block.
type Log struct {
	o    Options
	room []byte // being filled; nil while the writer has both
	full chan []byte
	free chan []byte
	done chan struct{}

	reopen atomic.Bool

	// The writer's.
	file   *os.File
	looked time.Time // for another file at the path
	torn   bool      // the file ends in the middle of a line
	told   time.Time // of a failure
}

// Open starts a log. A file that cannot be opened is tried again: it costs lines, not the caller.
func Open(o Options) *Log {
	l := &Log{
		o:    o,
		room: make([]byte, 0, bufferSize),
		full: make(chan []byte, 2), free: make(chan []byte, 2),
		done: make(chan struct{}),
	}
	l.free <- make([]byte, 0, bufferSize)
	l.reopen.Store(true)
	l.full <- nil // opens it, so that a file is there before the first line
	go l.write()
	return l
}

// Path is where the log is written.
func (l *Log) Path() string { return l.o.Path }

// Line returns what to append a line of at most MaxLine bytes to; nil when there is no room, and the
// line is lost.
func (l *Log) Line() []byte {
	if cap(l.room)-len(l.room) < MaxLine {
		l.Flush()
		if cap(l.room)-len(l.room) < MaxLine {
			l.o.Dropped(1)
			return nil
		}
	}
	return l.room
}

// Commit takes over what Line returned, with the line appended.
func (l *Log) Commit(room []byte) { l.room = room }

// Flush hands lines to the writer, unless that is busy with earlier ones.
func (l *Log) Flush() {
	if l.room != nil && len(l.room) == 0 {
		return
	}
	select {
	case next := <-l.free:
		if l.room != nil {
			l.full <- l.room // has room for every buffer there is
		}
		l.room = next
	default:
	}
}

// Reopen has the writer open the file anew before it writes the next time.
func (l *Log) Reopen() { l.reopen.Store(true) }

// Close writes what is left and ends the log. It gives up on a file that takes nothing.
func (l *Log) Close() {
	if len(l.room) > 0 {
		l.full <- l.room
	}
	l.room = nil
	close(l.full)
	select {
	case <-l.done:
	case <-time.After(closeTime):
	}
}

func (l *Log) write() {
	defer close(l.done)
	for lines := range l.full {
		l.look()
		if lines != nil {
			l.put(lines)
			l.free <- lines[:0]
		}
	}
	if l.file != nil {
		l.file.Close()
	}
}

// look sees to it that the file is the one at the path.
func (l *Log) look() {
	if l.o.Path == Standard {
		if l.file == nil {
			// Under a number of its own: a broken pipe at number 1 would end the process.
			fd, err := unix.FcntlInt(os.Stdout.Fd(), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				l.fail("open access log", err)
				return
			}
			l.file = os.NewFile(uintptr(fd), os.Stdout.Name())
		}
		return
	}
	now := time.Now()
	asked := l.reopen.Swap(false)
	if l.file != nil && !asked && now.Sub(l.looked) < lookEvery {
		return
	}
	l.looked = now
	if l.file != nil && !asked {
		there, err := os.Stat(l.o.Path)
		mine, err2 := l.file.Stat()
		if err == nil && err2 == nil && os.SameFile(there, mine) {
			return
		}
	}
	file, err := os.OpenFile(l.o.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		l.fail("open access log", err) // the old one, if any, still takes lines
		return
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.torn = file, false
}

// put writes whole lines.
func (l *Log) put(lines []byte) {
	if l.file == nil {
		l.o.Dropped(bytes.Count(lines, newline))
		return
	}
	if l.torn {
		if _, err := l.file.Write(newline); err != nil {
			l.lose(lines, err)
			return
		}
		l.torn = false
	}
	step := len(lines)
	if info, err := l.file.Stat(); err != nil || !info.Mode().IsRegular() {
		step = MaxLine // more than that a pipe may take in pieces, and others' between them
	}
	for len(lines) > 0 {
		n := len(lines)
		if n > step {
			n = bytes.LastIndexByte(lines[:step], '\n') + 1
		}
		written, err := l.file.Write(lines[:n])
		if err != nil {
			whole := bytes.LastIndexByte(lines[:written], '\n') + 1
			l.torn = whole != written
			l.lose(lines[whole:], err)
			return
		}
		lines = lines[n:]
	}
}

var newline = []byte("\n")

func (l *Log) lose(lines []byte, err error) {
	l.o.Dropped(bytes.Count(lines, newline))
	l.fail("write access log", err)
}

func (l *Log) fail(what string, err error) {
	if now := time.Now(); now.Sub(l.told) >= time.Second {
		l.told = now
		l.o.Failed(what, err)
	}
}
