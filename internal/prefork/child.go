package prefork

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNotChild says that this process was not started by a [Pool].
var ErrNotChild = errors.New("not started by erlmcp itself: this role has no use of its own")

// Child is a copy's own view of itself. FD and File belong to its start, to one goroutine.
type Child struct {
	Index  int // 0 … Copies−1
	Copies int // the most that there may be
	Intake Intake

	stream *stream
	fds    map[string]int // not taken yet
}

// Inherit takes what the parent passed on. A copy calls it once, early: from then on programs that
// it starts inherit none of this, and SIGINT and SIGHUP are ignored, which a terminal sends to the
// whole process group and which are the parent's to decide about. The error is [ErrNotChild] in a
// process that is no copy.
func Inherit() (*Child, error) {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return nil, ErrNotChild
	}
	if err := os.Unsetenv(variable); err != nil {
		return nil, err
	}
	var in inheritance
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, fmt.Errorf("prefork: malformed %s: %w", variable, err)
	}
	c := &Child{Index: in.Index, Copies: in.Copies, Intake: in.Intake, fds: make(map[string]int)}
	for i, name := range append([]string{"control"}, in.Files...) {
		fd := controlFD + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("prefork: inherited file %q (descriptor %d): %w", name, fd, err)
		}
		if i > 0 {
			c.fds[name] = fd
		}
	}
	var err error
	if c.stream, err = openStream(os.NewFile(controlFD, "control")); err != nil {
		return nil, fmt.Errorf("prefork: control stream: %w", err)
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
	dieWithParent()
	NameProcess()
	return c, nil
}

// FD returns the descriptor of an inherited file, which is then the caller's. This is the way to
// take a socket that an event loop will own: an *os.File would also put it into the poller of the
// Go runtime, and close it when collected. ok is false when there is no such file or it was taken.
func (c *Child) FD(name string) (fd int, ok bool) {
	fd, ok = c.fds[name]
	delete(c.fds, name)
	return fd, ok
}

// File returns an inherited file, which is then the caller's, or nil when there is no such file or
// it was taken.
func (c *Child) File(name string) *os.File {
	fd, ok := c.FD(name)
	if !ok {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

// Send sends the parent a message: data as JSON, nothing for nil. It does not block and may be
// called from any goroutine. What the kernel takes at once, normally everything, arrives even if
// the copy ends right after; [ErrBacklog] and every other error mean that the parent has gone or is
// no use any more.
func (c *Child) Send(kind string, data any) error {
	line, err := encode(kind, data)
	if err != nil {
		return fmt.Errorf("prefork: %w", err)
	}
	if err := c.stream.send(line); err != nil {
		return fmt.Errorf("prefork: send %q: %w", kind, err)
	}
	return nil
}

// Receive returns the next message of the parent. The error is io.EOF when the parent has gone: the
// copy must end. Only one goroutine may call it.
func (c *Child) Receive() (Message, error) {
	m, err := c.stream.receive()
	if err == nil {
		return m, nil
	}
	// A parent that died with messages unread resets the stream.
	if errors.Is(err, syscall.ECONNRESET) {
		err = io.EOF
	}
	if !errors.Is(err, io.EOF) {
		err = fmt.Errorf("prefork: control stream: %w", err)
	}
	return Message{}, err
}
