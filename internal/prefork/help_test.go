package prefork

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

const patience = 20 * time.Second

var noDeadline time.Time

// await waits for something that other processes do.
func await(t *testing.T, what string, happened func() bool) {
	t.Helper()
	waittest.Until(t, patience, what, happened)
}

// event is one callback of a pool: "start", "exit" or "message".
type event struct {
	What    string
	Copy    int
	PID     int
	Err     error
	Message Message
}

// harness is a pool whose callbacks are recorded.
type harness struct {
	*Pool
	mu     sync.Mutex
	events []event
}

// start runs a pool of copies that play role until the test ends. change may adjust the rest.
func start(t *testing.T, role string, copies int, change func(*Config)) *harness {
	t.Helper()
	h := &harness{}
	c := h.config(role, copies)
	if change != nil {
		change(&c)
	}
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	h.Pool = p
	t.Cleanup(func() { _ = p.Stop(ended()) })
	return h
}

func (h *harness) config(role string, copies int) Config {
	return Config{
		Name: "test", Args: []string{role}, Copies: copies,
		OnStart:   func(i, pid int) { h.record(event{What: "start", Copy: i, PID: pid}) },
		OnExit:    func(i, pid int, err error) { h.record(event{What: "exit", Copy: i, PID: pid, Err: err}) },
		OnMessage: func(i int, m Message) { h.record(event{What: "message", Copy: i, Message: m}) },
		Backoff:   Backoff{Min: time.Millisecond, Max: 2 * time.Millisecond},
	}
}

func (h *harness) record(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// all returns the recorded events of one kind.
func (h *harness) all(what string) (es []event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.What == what {
			es = append(es, e)
		}
	}
	return es
}

func (h *harness) awaitEvents(t *testing.T, what string, n int) []event {
	t.Helper()
	await(t, fmt.Sprintf("%d × %s", n, what), func() bool { return len(h.all(what)) >= n })
	return h.all(what)
}

// send sends a message that a test needs to arrive.
func (h *harness) send(t *testing.T, i int, kind string, data any) {
	t.Helper()
	if err := h.Send(i, kind, data); err != nil {
		t.Fatal(err)
	}
}

// ended returns a context that is over: a Stop that kills.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func into[T any](t *testing.T, data json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%.100s: %v", data, err)
	}
	return v
}

// descriptors returns the open descriptors of this process from 3 up.
func descriptors() (fds []int) {
	var limit syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	for fd := 3; fd < int(min(limit.Cur, 4096)); fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds
}

// openOnExec returns the descriptors that a program inherits from this process unasked.
func openOnExec() []int {
	return slices.DeleteFunc(descriptors(), func(fd int) bool {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		return err != nil || flags&unix.FD_CLOEXEC != 0
	})
}

func tempFile(t *testing.T, text string) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f
}
