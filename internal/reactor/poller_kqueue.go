//go:build darwin || freebsd

package reactor

import (
	"os"

	"golang.org/x/sys/unix"
)

// poller is kqueue with a user event for wake-ups.
type poller struct {
	fd     int
	events [512]unix.Kevent_t
}

const wakeIdent = 0

func newPoller() (*poller, error) {
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(fd)
	p := &poller{fd: fd}
	if err := p.change(wakeIdent, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR, 0); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) close() { unix.Close(p.fd) }

// watch reports both directions of fd on every change (EV_CLEAR), for as long
// as fd is open. What is already the case is reported once.
func (p *poller) watch(fd int) error {
	if err := p.change(fd, unix.EVFILT_READ, unix.EV_ADD|unix.EV_CLEAR, 0); err != nil {
		return err
	}
	return p.change(fd, unix.EVFILT_WRITE, unix.EV_ADD|unix.EV_CLEAR, 0)
}

// unwatch ends the reports of fd.
func (p *poller) unwatch(fd int) {
	_ = p.change(fd, unix.EVFILT_READ, unix.EV_DELETE, 0)
	_ = p.change(fd, unix.EVFILT_WRITE, unix.EV_DELETE, 0)
}

// listen reports fd as long as connections wait on it (level-triggered).
func (p *poller) listen(fd int) error { return p.change(fd, unix.EVFILT_READ, unix.EV_ADD, 0) }

// unlisten stops the reports of a listener.
func (p *poller) unlisten(fd int) error { return p.change(fd, unix.EVFILT_READ, unix.EV_DELETE, 0) }

func (p *poller) change(ident, filter, flags int, fflags uint32) error {
	var ev [1]unix.Kevent_t
	unix.SetKevent(&ev[0], ident, filter, flags)
	ev[0].Fflags = fflags
	_, err := unix.Kevent(p.fd, ev[:], nil, nil)
	return os.NewSyscallError("kevent", err)
}

// wake makes the current or next wait return. Any goroutine may call it.
func (p *poller) wake() {
	// It can only fail once the kqueue is closed, when nobody waits.
	_ = p.change(wakeIdent, unix.EVFILT_USER, 0, unix.NOTE_TRIGGER)
}

// wait blocks for up to timeoutMs (-1: no limit) and returns how many events
// there are to be read with event. An interrupted wait has none.
func (p *poller) wait(timeoutMs int) (int, error) {
	var timeout *unix.Timespec
	if timeoutMs >= 0 {
		ts := unix.NsecToTimespec(int64(timeoutMs) * 1e6)
		timeout = &ts
	}
	n, err := unix.Kevent(p.fd, nil, p.events[:], timeout)
	if err == unix.EINTR {
		return 0, nil
	}
	return max(n, 0), os.NewSyscallError("kevent", err)
}

// event returns the i-th event of the last wait. A wake-up has fd -1.
func (p *poller) event(i int) event {
	e := &p.events[i]
	switch e.Filter {
	case unix.EVFILT_USER:
		return event{fd: -1}
	case unix.EVFILT_READ:
		return event{fd: int(e.Ident), readable: true, eof: e.Flags&unix.EV_EOF != 0, failed: e.Flags&unix.EV_EOF != 0 && e.Fflags != 0}
	default:
		// A write filter's EOF means that the peer takes no more: the error is
		// found by writing, or by the read filter's own event.
		return event{fd: int(e.Ident), writable: true, failed: e.Flags&unix.EV_EOF != 0 && e.Fflags != 0}
	}
}
