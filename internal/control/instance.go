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
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for range acquireAttempts {
		err = flock(lock, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			previous := readPID(lock)
			writePID(lock, os.Getpid())
			return &Instance{socket: socket, lock: lock, crashed: previous != 0}, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			lock.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		time.Sleep(acquirePause)
	}
	pid := readPID(lock)
	lock.Close()
	return nil, &RunningError{Name: name, PID: pid}
}

// Crashed reports whether the daemon before this one ended without [Instance.Close]. What it owned
// (ports, children) may then still be on its way out.
func (i *Instance) Crashed() bool { return i.crashed }

// Close stops serving, waits a moment for requests in progress, removes the socket and frees the lock.
func (i *Instance) Close() error {
	i.stopServing()
	writePID(i.lock, 0)
	return i.lock.Close()
}

// Running reports whether the daemon name of dir lives, and its pid (0 when it cannot be told).
func Running(dir, name string) (pid int, ok bool) {
	lock, err := os.OpenFile(lockPath(dir, name), os.O_RDWR, 0)
	if err != nil {
		return 0, false
	}
	defer lock.Close() // frees the lock if it was got
	if err := flock(lock, syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return 0, false
	}
	return readPID(lock), true
}

func lockPath(dir, name string) string { return filepath.Join(dir, name+".lock") }

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}

// readPID and writePID keep the pid of the lock's holder in the file, for people and for messages.
// Failure to write it (a full disk) is no reason not to run. 0 is an empty file.
func readPID(f *os.File) int {
	var text [20]byte
	n, _ := f.ReadAt(text[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

func writePID(f *os.File, pid int) {
	_ = f.Truncate(0)
	if pid != 0 {
		_, _ = f.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
	}
}
