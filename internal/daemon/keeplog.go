package daemon

import (
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// LogOptions are about the log of a daemon.
type LogOptions struct {
	Path    string
	MaxSize int64 // a longer one is rotated by this process, to PATH.1 … PATH.KEEP; 0 leaves that to others
	Keep    int
}

// keptLog is the standard error of a daemon that is the file at a path, which others may rename or remove: then the
// standard streams become the file that has the name. All processes that share a log look for themselves.
type keptLog struct {
	o LogOptions

	mu sync.Mutex
}

// KeepLog returns what to write to in place of w, the standard error, where that is the log at o.Path: a writer that
// rotates it, and goes on in a new file when somebody else has renamed or removed it, or at once on SIGUSR1. Anything
// else is returned as it is, and SIGUSR1 then does nothing.
func KeepLog(w io.Writer, o LogOptions) io.Writer {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	if w != io.Writer(os.Stderr) || !isStream(2, o.Path) {
		return w
	}
	l := &keptLog{o: o}
	go func() {
		for range asked {
			l.look()
		}
	}()
	return l
}

// isStream reports whether a descriptor is the file of that name.
func isStream(fd int, path string) bool {
	var mine, named unix.Stat_t
	return unix.Fstat(fd, &mine) == nil && unix.Stat(path, &named) == nil && mine.Dev == named.Dev && mine.Ino == named.Ino
}

// Write implements io.Writer.
func (l *keptLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lookLocked()
	return os.Stderr.Write(p)
}

func (l *keptLog) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lookLocked()
}

// lookLocked makes the standard streams what they should be. With trouble they stay what they are.
func (l *keptLog) lookLocked() {
	var mine unix.Stat_t
	if unix.Fstat(2, &mine) != nil {
		return
	}
	moved := !isStream(2, l.o.Path)
	if !moved && l.o.MaxSize > 0 && mine.Size > l.o.MaxSize {
		moved = Rotate(l.o.Path, l.o.Keep) == nil
	}
	if !moved {
		return
	}
	if err := os.MkdirAll(filepath.Dir(l.o.Path), 0o700); err != nil {
		return
	}
	file, err := os.OpenFile(l.o.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer file.Close()
	for _, fd := range []int{1, 2} {
		var other unix.Stat_t
		if unix.Fstat(fd, &other) == nil && other.Dev == mine.Dev && other.Ino == mine.Ino {
			_ = replaceStream(int(file.Fd()), fd)
		}
	}
}
