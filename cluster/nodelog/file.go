package nodelog

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

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/daemon"
)

// File is a node's log: PATH, and PATH.1 (the newest) … PATH.KEEP for what came before. It is
// written in whole lines; no file begins or ends within one. Trouble with the disk loses lines,
// which are counted and said in the log as soon as it can be written again; it never reaches the
// node. It is safe for concurrent use.
type File struct {
	path    string
	maxSize int64 // bytes
	keep    int
	maxLine int               // bytes without the newline; longer ones are cut, see Pump
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

// Path is the file that the log of a node in dir is written to.
func Path(dir, node string) string { return filepath.Join(dir, node+".log") }

const (
	logRetry    = time.Second
	recentBytes = 8 << 10
	recentLines = 10
)

// Open opens the log of a node in dir, which is created (0700) when missing. warn is told what becomes of the log
// later; it may be nil. The error is of [Unwritable].
func Open(dir, node string, s Spec, warn func(text string)) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, Unwritable(dir, err)
	}
	f := &File{
		path: Path(dir, node), maxSize: int64(s.MaxSize), keep: s.Keep, maxLine: int(cmp.Or(s.MaxLine, defaultMaxLine)),
		warn: warn,
	}
	if err := f.openLocked(); err != nil {
		return nil, Unwritable(dir, err)
	}
	return f, nil
}

// Unwritable says that logs cannot be kept in a directory.
func Unwritable(dir string, err error) error {
	return advice.With(fmt.Errorf("cannot keep logs in %s: %w", dir, err), "make the directory writable or choose another one as cluster.logs.dir")
}

// Path is the file that is written.
func (f *File) Path() string { return f.path }

// write appends lines, each ended by a newline.
func (f *File) write(lines []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recent = append(f.recent, lines[max(0, len(lines)-recentBytes):]...)
	f.recent = f.recent[max(0, len(f.recent)-recentBytes):]
	f.appendLocked(lines)
}

// Note writes a line of the supervisor's own.
func (f *File) Note(format string, args ...any) {
	line := supervisorLine(format, args...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.appendLocked([]byte(line))
}

func supervisorLine(format string, args ...any) string {
	now := time.Now().Format("2006-01-02T15:04:05.000Z07:00")
	return now + " supervisor: " + fmt.Sprintf(format, args...) + "\n"
}

// Begin forgets the lines of an earlier life.
func (f *File) Begin() {
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

// Ending returns the last lines of this life, indented, without a newline at the end; what cannot be
// printed is a dot.
func (f *File) Ending() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := strings.TrimSpace(strings.Map(printable, string(f.recent)))
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-recentLines):], "\n  ")
}

// Lost is how many bytes could not be written.
func (f *File) Lost() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}

// Close closes the file; what is written later opens it again.
func (f *File) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// openLocked opens the file, in a directory that is made anew if somebody has removed it.
func (f *File) openLocked() error {
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

func (f *File) warnLocked(text string) {
	if f.warn != nil {
		f.warn(text)
	}
}

// appendLocked writes what fits into the current file, rotates, and goes on.
func (f *File) appendLocked(lines []byte) {
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
func (f *File) usableLocked() bool {
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
func (f *File) takenAwayLocked() bool {
	named, err := os.Stat(f.path)
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	return gone || err == nil && !os.SameFile(f.id, named)
}

func (f *File) breakLocked() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
	f.retry = time.Now().Add(logRetry)
}

func (f *File) loseLocked(n int) {
	if f.gap == 0 && n > 0 {
		f.warnLocked("this log cannot be written, and loses lines until it can")
	}
	f.gap += int64(n)
	f.lost += int64(n)
}

func (f *File) rotateLocked() error {
	f.file.Close()
	f.file = nil
	if err := daemon.Rotate(f.path, f.keep); err != nil {
		return err
	}
	return f.openLocked()
}
