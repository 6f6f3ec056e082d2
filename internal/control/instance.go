// Package control makes a daemon the only one of its kind in a state directory, and lets commands
// talk to it.
//
// A daemon NAME of the directory DIR owns two files:
//
//	DIR/NAME.lock   flock held as long as the daemon lives; the kernel frees it however the daemon dies
//	DIR/NAME.sock   unix socket (0600) serving HTTP/1.1 with JSON bodies
//
// Whether a daemon runs is told by the lock alone, never by the existence of a file. Files that a
// killed daemon left behind hinder nobody, and a daemon whose files were removed makes them anew.
//
// Nothing is believed that another user could have made: the whole way to the directory, its owner and mode,
// those of lock and socket, and the user at the other end of the socket are looked at first, by both sides. A
// signal goes to a process only if it is the one that has taken the lock, which its start and its user tell.
// Root may ask and end the daemons of another user's directory, as that user could.
package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
	name    string
	crashed bool
	server  *http.Server
	stop    func()        // ends the context of requests, and watching
	watched chan struct{} // closed when watching has ended

	mu       sync.Mutex // held while files are made
	place    place
	lock     *os.File
	listener *net.UnixListener // nil before Serve, as is socket
	socket   os.FileInfo       // as it was made
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
	p, err := prepare(dir)
	if err != nil {
		return nil, err
	}
	if _, err := p.socketName(name); err != nil {
		return nil, err
	}
	if lock := inherited(name, filepath.Join(p.path, name+".lock")); lock != nil { // of this process, as it was before
		writeHolder(lock, self(starting))
		return &Instance{name: name, place: p, lock: lock}, nil
	}
	lock, previous, err := p.acquire(name)
	if err != nil {
		return nil, err
	}
	writeHolder(lock, self(starting))
	return &Instance{name: name, place: p, lock: lock, crashed: previous.pid != 0}, nil
}

// acquire takes the lock, and tells who had it last.
func (p place) acquire(name string) (lock *os.File, previous holder, err error) {
	lock, err = p.open(name+".lock", os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, previous, err
	}
	for range acquireAttempts {
		err = flock(lock, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return lock, readHolder(lock), nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			lock.Close()
			return nil, previous, fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		time.Sleep(acquirePause)
	}
	pid := readHolder(lock).pid
	lock.Close()
	return nil, previous, &RunningError{Name: name, PID: pid}
}

// Dir is the path of the state directory without links: the same whatever name it was asked for by.
func (i *Instance) Dir() string { return i.place.path }

// Crashed reports whether the daemon before this one ended without [Instance.Close]. What it owned
// (ports, children) may then still be on its way out.
func (i *Instance) Crashed() bool { return i.crashed }

// Close stops serving, waits a moment for requests in progress, removes the socket and frees the lock.
func (i *Instance) Close() error {
	i.stopServing()
	writeHolder(i.lock, holder{})
	return i.lock.Close()
}

// Running reports whether the daemon name of dir lives, and its pid (0 when it cannot be told). An error, a
// *[DirError], means that this process may not know, or that somebody else has put there what it found.
func Running(dir, name string) (pid int, ok bool, err error) {
	h, ok, err := holderOf(dir, name)
	return h.pid, ok, err
}

// Signal sends sig to the daemon name of dir, whose pid was that when it was asked for last. The error
// is os.ErrProcessDone when that one has ended; whoever may have its pid by now gets nothing. When the lock is
// held and names a process that cannot have taken it, the error is a *[StrangerError].
func Signal(dir, name string, pid int, sig syscall.Signal) error {
	if pid <= 0 {
		return &StrangerError{Name: name}
	}
	var stranger error
	err := pidfd.Signal(pid, sig, func() bool {
		h, ok, err := holderOf(dir, name)
		switch {
		case err != nil:
			stranger = err
		case ok && h.pid != 0 && !h.proven():
			stranger = &StrangerError{Name: name, PID: h.pid}
		}
		return err == nil && ok && h.pid == pid && h.proven()
	})
	if stranger != nil {
		return stranger
	}
	return err
}

// StrangerError says that a process did not get a signal, because nothing proves that it is the daemon.
type StrangerError struct {
	Name string
	PID  int // as the lock has it; 0 if it does not tell
}

func (e *StrangerError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("the lock of %s does not tell which process holds it, so none gets a signal", e.Name)
	}
	return fmt.Sprintf("process %d is named by the lock of %s, but has not taken it: it began at another time or is another user's, and gets no signal", e.PID, e.Name)
}

// Is makes the error match os.ErrProcessDone: the process that was meant is not that one.
func (e *StrangerError) Is(target error) bool { return target == os.ErrProcessDone }

// Hint is the way out.
func (e *StrangerError) Hint() string {
	return "find out who holds the lock, by lslocks or fuser, and end that process"
}

// holderOf returns who holds the lock, and whether anybody does.
func holderOf(dir, name string) (h holder, held bool, err error) {
	p, err := look(dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return holder{}, false, nil
	}
	if err != nil {
		return holder{}, false, err
	}
	return p.holder(name)
}

func (p place) holder(name string) (h holder, held bool, err error) {
	lock, err := p.open(name+".lock", os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return holder{}, false, nil
	}
	if err != nil {
		return holder{}, false, err
	}
	defer lock.Close() // frees the lock if it was got
	switch err := flock(lock, syscall.LOCK_SH|syscall.LOCK_NB); {
	case err == nil:
		return holder{}, false, nil
	case !errors.Is(err, syscall.EWOULDBLOCK):
		return holder{}, false, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	h = readHolder(lock)
	h.user = p.owner
	return h, true, nil
}

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
	phase phase
	user  int // whose processes can hold the lock
}

// phase is how far a daemon is in its life.
type phase string

const (
	starting phase = "starting" // has no socket yet
	serving  phase = "serving"
	ending   phase = "ending" // has removed its socket
)

func self(p phase) holder { return holder{pid: os.Getpid(), began: pidfd.Began(os.Getpid()), phase: p} }

// proven reports whether the process with that pid is the one that has taken the lock.
func (h holder) proven() bool {
	user, ok := pidfd.Owner(h.pid)
	return ok && user == h.user && h.began != "" && h.began == pidfd.Began(h.pid)
}

// readHolder and writeHolder keep the lock's holder in the file, "PID BEGAN PHASE", for people and for messages
// too. Failure to write it (a full disk) is no reason not to run. Nobody is an empty file.
func readHolder(f *os.File) holder {
	var text [64]byte
	n, _ := f.ReadAt(text[:], 0)
	words := strings.Fields(string(text[:n]))
	if len(words) == 0 {
		return holder{}
	}
	pid, err := strconv.Atoi(words[0])
	if err != nil || pid < 0 {
		return holder{}
	}
	words = append(words, "", "")
	return holder{pid: pid, began: words[1], phase: phase(words[2])}
}

// writeHolder writes one record over another of the same process at once, as the phases are padded to one
// length: a reader finds the one or the other.
func writeHolder(f *os.File, h holder) {
	if h.pid == 0 || readHolder(f).pid != h.pid {
		_ = f.Truncate(0)
	}
	if h.pid != 0 {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d %s %-8s\n", h.pid, h.began, h.phase), 0)
	}
}
