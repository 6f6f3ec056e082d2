package reactor

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAcceptRestsWhenDescriptorsRunOut(t *testing.T) {
	l := startLoop(t)
	fd, addr := listenFD(t)
	errs := make(chan error, 64)
	accepted := make(chan int, 64)
	on(l, func() {
		if _, err := l.Listen(fd, acceptFuncs{func(fd int) { accepted <- fd }, func(err error) { errs <- err }}); err != nil {
			t.Error(err)
		}
	})
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	unix.Close(receive(t, "the first", accepted))

	waiting, err := connect(addr, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(waiting)
	receivedFD := receive(t, "the second", accepted)
	unix.Close(receivedFD)

	// From here on no descriptor number is free.
	third, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(third)
	tight := limit
	tight.Cur = uint64(third + 1)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &tight); err != nil {
		t.Fatal(err)
	}
	restore := func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }
	defer restore()
	var hogs []int
	for {
		dup, err := unix.Dup(third)
		if err != nil {
			break
		}
		hogs = append(hogs, dup)
	}
	if err := unix.Connect(third, sockaddr4(addr)); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the error", errs); !errors.Is(err, unix.EMFILE) {
		t.Fatalf("accept failed with %v", err)
	}
	restore()
	for _, hog := range hogs {
		unix.Close(hog)
	}
	unix.Close(receive(t, "the third, after the rest", accepted))
}

func sockaddr4(a netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

type acceptFuncs struct {
	accept func(fd int)
	fail   func(err error)
}

func (a acceptFuncs) OnAccept(fd int, _ netip.AddrPort) { a.accept(fd) }

func (a acceptFuncs) OnAcceptError(err error) { a.fail(err) }
