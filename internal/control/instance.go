// Package control makes a daemon the only one of its kind in a state directory, and lets commands
// talk to it.
//
// A daemon NAME of the directory DIR owns two files:
//
//	DIR/NAME.lock   flock held as long as the daemon lives; the kernel frees it however the daemon dies
//	DIR/NAME.sock   unix socket (0600) serving HTTP/1.1 with JSON bodies
//
// Whether a daemon runs is told by the lock alone, never by the existence of a file. Files that a
// killed daemon left behind hinder nobody.
package control

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/pidfd"
)

// ErrRunning is what errors of [Acquire] satisfy when another process is the daemon.
var ErrRunning = errors.New("already running")

// RunningError says which process is the daemon.
type RunningError struct {
	Name string
	PID  int // 0 when it cannot be told
}

func (e *RunningError) Error() string {
	if e.PID == 0 {
		return e.Name + " is already running"
	}
	return fmt.Sprintf("%s is already running (pid %d)", e.Name, e.PID)
}

// Is makes the error match [ErrRunning].
func (e *RunningError) Is(target error) bool { return target == ErrRunning }

// Instance is the right to be the only NAME daemon of a state directory.
type Instance struct {
	socket  string
	lock    *os.File
	crashed bool
	server  *http.Server
	stop    func() // ends the context of requests
}

// Probes of the lock hold it for microseconds, so a single refusal does not yet mean that a daemon
// lives.
const (
	acquireAttempts = 20
	acquirePause    = 5 * time.Millisecond
)

// Acquire takes the lock of the daemon name in dir and creates dir (0700) when it is missing. When
// another process holds it, the error is a *[RunningError].
func Acquire(dir, name string) (*Instance, error) {
	socket, err := socketPath(dir, name)
	if err != nil {
		return nil, err
	}
	if err := PrepareDir(dir); err != nil {
		return nil, err
	}
	path := lockPath(dir, name)
	if lock := inherited(name, path); lock != nil {
		return &Instance{socket: socket, lock: lock}, nil // it names this process already
	}
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for range acquireAttempts {
		err = flock(lock, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			previous := readHolder(lock)
			writeHolder(lock, holder{os.Getpid(), pidfd.Began(os.Getpid())})
			return &Instance{socket: socket, lock: lock, crashed: previous.pid != 0}, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			lock.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		time.Sleep(acquirePause)
	}
	pid := readHolder(lock).pid
	lock.Close()
	return nil, &RunningError{Name: name, PID: pid}
}

// Crashed reports whether the daemon before this one ended without [Instance.Close]. What it owned
// (ports, children) may then still be on its way out.
func (i *Instance) Crashed() bool { return i.crashed }

// Close stops serving, waits a moment for requests in progress, removes the socket and frees the lock.
func (i *Instance) Close() error {
	i.stopServing()
	writeHolder(i.lock, holder{})
	return i.lock.Close()
}

// Running reports whether the daemon name of dir lives, and its pid (0 when it cannot be told).
func Running(dir, name string) (pid int, ok bool) {
	holder, ok := holderOf(dir, name)
	return holder.pid, ok
}

// Signal sends sig to the daemon name of dir, whose pid was that when it was asked for last. The error
// is os.ErrProcessDone when that one has ended; whoever may have its pid by now gets nothing.
func Signal(dir, name string, pid int, sig syscall.Signal) error {
	return pidfd.Signal(pid, sig, func() bool {
		holder, ok := holderOf(dir, name)
		return ok && holder.pid == pid && (holder.began == "" || holder.began == pidfd.Began(pid))
	})
}

// holderOf returns who holds the lock, and whether anybody does.
func holderOf(dir, name string) (holder, bool) {
	lock, err := os.OpenFile(lockPath(dir, name), os.O_RDWR, 0)
	if err != nil {
		return holder{}, false
	}
	defer lock.Close() // frees the lock if it was got
	if err := flock(lock, syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return holder{}, false
	}
	return readHolder(lock), true
}

func lockPath(dir, name string) string { return filepath.Join(dir, name+".lock") }

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}

// holder is the process that the lock's file names. A crash leaves its name in the file until the next
// holder has written its own, and by then the pid may be another process's; hence the time it began.
type holder struct {
	pid   int    // 0 when it cannot be told
	began string // as pidfd.Began has it
}

// readHolder and writeHolder keep the lock's holder in the file, "PID BEGAN", for people and for messages
// too. Failure to write it (a full disk) is no reason not to run. Nobody is an empty file.
func readHolder(f *os.File) holder {
	var text [64]byte
	n, _ := f.ReadAt(text[:], 0)
	number, began, _ := strings.Cut(strings.TrimSpace(string(text[:n])), " ")
	pid, err := strconv.Atoi(number)
	if err != nil || pid < 0 {
		return holder{}
	}
	return holder{pid, began}
}

func writeHolder(f *os.File, h holder) {
	_ = f.Truncate(0)
	if h.pid != 0 {
		_, _ = f.WriteAt([]byte(strings.TrimSpace(fmt.Sprintln(h.pid, h.began))+"\n"), 0)
	}
}
