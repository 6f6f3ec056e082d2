package cluster

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/erlmcp/erlmcp/internal/daemon"
)

// logFile is a node's log: PATH, and PATH.1 (the newest) … PATH.KEEP for what came before. It is
// written in whole lines; no file begins or ends within one. Trouble with the disk loses lines,
// which are counted and said in the log as soon as it can be written again; it never reaches the
// node. It is safe for concurrent use.
type logFile struct {
	path    string
	maxSize int64 // bytes
	keep    int
	maxLine int               // bytes without the newline; longer ones are cut, see pump
	warn    func(text string) // told what becomes of the log; may be nil

	mu     sync.Mutex
	file   *os.File // nil while it cannot be written
	id     os.FileInfo
	size   int64
	torn   bool      // the last write ended within a line
	retry  time.Time // not to be tried again before, while file is nil
	gap    int64     // bytes lost since the last write that succeeded
	lost   int64     // bytes lost at all
	recent []byte    // the last lines of this life of the node, for messages
}

// LogDir is the directory of the nodes' logs.
func LogDir(stateDir string, spec Spec) string {
	if spec.Logs.Dir != "" {
		return spec.Logs.Dir
	}
	return filepath.Join(stateDir, "logs")
}

func logPath(dir, node string) string { return filepath.Join(dir, node+".log") }

const (
	logRetry    = time.Second
	recentBytes = 8 << 10
	recentLines = 10
)

// openLog opens the log of a node in dir, which is created (0700) when missing.
func openLog(dir, node string, l Logs) (*logFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &logError{dir, err}
	}
	f := &logFile{path: logPath(dir, node), maxSize: int64(l.MaxSize), keep: l.Keep, maxLine: int(cmp.Or(l.MaxLine, defaultMaxLine))}
	if err := f.openLocked(); err != nil {
		return nil, &logError{dir, err}
	}
	return f, nil
}

type logError struct {
	dir string
	err error
}

func (e *logError) Error() string { return fmt.Sprintf("cannot keep logs in %s: %v", e.dir, e.err) }
func (e *logError) Unwrap() error { return e.err }
func (e *logError) Hint() string {
	return "make the directory writable or choose another one as cluster.logs.dir"
}

// write appends lines, each ended by a newline.
func (f *logFile) write(lines []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recent = append(f.recent, lines[max(0, len(lines)-recentBytes):]...)
	f.recent = f.recent[max(0, len(f.recent)-recentBytes):]
	f.appendLocked(lines)
}

// note writes a line of the supervisor's own.
func (f *logFile) note(format string, args ...any) {
	line := supervisorLine(format, args...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.appendLocked([]byte(line))
}

func supervisorLine(format string, args ...any) string {
	now := time.Now().Format("2006-01-02T15:04:05.000Z07:00")
	return now + " supervisor: " + fmt.Sprintf(format, args...) + "\n"
}

// begin forgets the lines of an earlier life.
func (f *logFile) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recent = f.recent[:0]
}

// printable keeps a node from steering the terminal that its last words are shown on.
func printable(r rune) rune {
	if r == '\n' || r == '\t' || unicode.IsPrint(r) && r != utf8.RuneError {
		return r
	}
	return '·'
}

// ending returns the last lines of this life, indented, without a newline at the end; what cannot be
// printed is a dot.
func (f *logFile) ending() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := strings.TrimSpace(strings.Map(printable, string(f.recent)))
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-recentLines):], "\n  ")
}

// lostBytes is how much could not be written.
func (f *logFile) lostBytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}

func (f *logFile) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// openLocked opens the file, in a directory that is made anew if somebody has removed it.
func (f *logFile) openLocked() error {
	open := func() (*os.File, error) { return os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600) }
	file, err := open()
	removed := os.IsNotExist(err)
	if removed {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
			return err
		}
		file, err = open()
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.id, f.size = file, info, info.Size()
	if removed {
		const what = "the directory of this log had been removed and was made anew"
		f.warnLocked(what)
		n, err := file.WriteString(supervisorLine(what))
		f.size += int64(n)
		return err
	}
	return nil
}

func (f *logFile) warnLocked(text string) {
	if f.warn != nil {
		f.warn(text)
	}
}

// appendLocked writes what fits into the current file, rotates, and goes on.
func (f *logFile) appendLocked(lines []byte) {
	if !f.usableLocked() {
		f.loseLocked(len(lines))
		return
	}
	for len(lines) > 0 {
		part := lines
		if room := f.maxSize - f.size; int64(len(part)) > room {
			part = lines[:bytes.LastIndexByte(lines[:max(room, 0)], '\n')+1]
			if len(part) == 0 && f.size == 0 { // one line longer than a file may be
				part = lines[:bytes.IndexByte(lines, '\n')+1]
			}
		}
		var err error
		if len(part) == 0 {
			err = f.rotateLocked()
		} else {
			var n int
			n, err = f.file.Write(part)
			f.size += int64(n)
			f.torn = n > 0 && part[n-1] != '\n'
			lines = lines[n:]
		}
		if err != nil {
			f.breakLocked()
			f.loseLocked(len(lines))
			return
		}
	}
}

// usableLocked makes the file writable again if it was not, and then says what is missing.
func (f *logFile) usableLocked() bool {
	if f.file != nil && f.takenAwayLocked() {
		f.file.Close()
		f.file, f.torn = nil, false
	}
	if f.file == nil {
		if time.Now().Before(f.retry) || f.openLocked() != nil {
			return false
		}
	}
	if f.gap == 0 {
		return true
	}
	text := supervisorLine("%d bytes of this log were lost: the file could not be written", f.gap)
	if f.torn {
		text = "\n" + text
	}
	n, err := f.file.WriteString(text)
	f.size += int64(n)
	if err != nil {
		f.torn = f.torn || n > 0
		f.breakLocked()
		return false
	}
	f.gap, f.torn = 0, false
	return true
}

// takenAwayLocked reports whether the file was deleted or renamed by somebody else.
func (f *logFile) takenAwayLocked() bool {
	named, err := os.Stat(f.path)
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	return gone || err == nil && !os.SameFile(f.id, named)
}

func (f *logFile) breakLocked() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
	f.retry = time.Now().Add(logRetry)
}

func (f *logFile) loseLocked(n int) {
	if f.gap == 0 && n > 0 {
		f.warnLocked("this log cannot be written, and loses lines until it can")
	}
	f.gap += int64(n)
	f.lost += int64(n)
}

func (f *logFile) rotateLocked() error {
	f.file.Close()
	f.file = nil
	if err := daemon.Rotate(f.path, f.keep); err != nil {
		return err
	}
	return f.openLocked()
}
