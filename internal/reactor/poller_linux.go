package reactor

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is epoll with an eventfd for wake-ups.
type poller struct {
	fd     int
	wakeFD int
	events [512]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &poller{fd: fd, wakeFD: wake}
	if err := p.control(unix.EPOLL_CTL_ADD, wake, unix.EPOLLIN|unix.EPOLLET); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) close() {
	unix.Close(p.wakeFD)
	unix.Close(p.fd)
}

// watch reports both directions of fd on every change (edge-triggered), for as
// long as fd is open. What is already the case is reported once.
func (p *poller) watch(fd int) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET)
}

// unwatch ends the reports of fd, which else last as long as any descriptor of the same socket.
func (p *poller) unwatch(fd int) { _ = p.control(unix.EPOLL_CTL_DEL, fd, 0) }

// listen reports fd as long as connections wait on it (level-triggered).
func (p *poller) listen(fd int) error { return p.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN) }

// unlisten stops the reports of a listener.
func (p *poller) unlisten(fd int) error { return p.control(unix.EPOLL_CTL_DEL, fd, 0) }

func (p *poller) control(op, fd int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// wake makes the current or next wait return. Any goroutine may call it.
func (p *poller) wake() {
	one := [8]byte{1}
	// EAGAIN means a wake-up is already on its way.
	_, _ = rawWrite(p.wakeFD, one[:])
}

// hiddenWait is how long, in milliseconds, a wait is kept from the Go scheduler. A loop under load
// waits often and for microseconds. Told of each wait, the scheduler would every time wake its monitor
// thread, which costs more than many an event: 7 % of the machine with 30 loops on 2 cores.
const hiddenWait = 2

// wait blocks for up to timeoutMs (-1: no limit) and returns how many events
// there are to be read with event. An interrupted wait has none.
func (p *poller) wait(timeoutMs int) (int, error) {
	hidden := hiddenWait
	if timeoutMs >= 0 {
		hidden = min(hidden, timeoutMs)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)), uintptr(hidden), 0, 0)
	switch {
	case errno == unix.EINTR:
		return 0, nil
	case errno != 0:
		return 0, os.NewSyscallError("epoll_wait", errno)
	case n > 0 || hidden == timeoutMs:
		return int(n), nil
	}
	rest := timeoutMs
	if rest > 0 {
		rest -= hidden
	}
	m, err := unix.EpollWait(p.fd, p.events[:], rest)
	if err == unix.EINTR {
		return 0, nil
	}
	return max(m, 0), os.NewSyscallError("epoll_wait", err)
}

// event returns the i-th event of the last wait. A wake-up has fd -1.
func (p *poller) event(i int) event {
	e := &p.events[i]
	if int(e.Fd) == p.wakeFD {
		// Edge-triggered and never read: each write is a new edge, and the
		// counter cannot overflow in the life of a process.
		return event{fd: -1}
	}
	return event{
		fd:       int(e.Fd),
		readable: e.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0,
		writable: e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0,
		eof:      e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0,
		failed:   e.Events&unix.EPOLLERR != 0,
	}
}
