package prefork

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func listen(t *testing.T, addr string, n int) []*os.File {
	t.Helper()
	files, err := Listen(addr, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(files) })
	return files
}

func localAddr(t *testing.T, f *os.File) *net.TCPAddr {
	t.Helper()
	sa, err := unix.Getsockname(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	}
	t.Fatalf("%T", sa)
	return nil
}

func TestListenSharesOnePort(t *testing.T) {
	files := listen(t, "127.0.0.1:0", 4)
	want := localAddr(t, files[0]).Port
	for _, f := range files {
		if got := localAddr(t, f).Port; got != want || got == 0 {
			t.Errorf("port %d, want %d", got, want)
		}
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("%s blocks (%v)", f.Name(), err)
		}
		// Not in the poller: a deadline needs one.
		if err := f.SetDeadline(noDeadline); !errors.Is(err, os.ErrNoDeadline) {
			t.Errorf("%s is known to the poller: %v", f.Name(), err)
		}
	}
}

// Whoever accepts, no connection is lost and with Linux every copy gets its share.
func TestListenSpreads(t *testing.T) {
	const n, connections = 4, 400
	files := listen(t, "127.0.0.1:0", n)
	addr := localAddr(t, files[0]).String()
	for range connections {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	sum := 0
	for i, f := range files {
		got := 0
		for {
			fd, _, err := unix.Accept(int(f.Fd()))
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
			got++
		}
		sum += got
		if hashes && (got < connections/n/2 || got > connections/n*2) {
			t.Errorf("copy %d got %d of %d connections", i, got, connections)
		}
	}
	if sum != connections {
		t.Errorf("%d of %d connections arrived", sum, connections)
	}
}

func TestListenDualStack(t *testing.T) {
	files := listen(t, ":0", 2)
	_, port, _ := net.SplitHostPort(localAddr(t, files[0]).String())
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.Dial("tcp", net.JoinHostPort(host, port))
		if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT) {
			continue // no IPv6 here
		}
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		c.Close()
	}
}

func TestListenAfterClosedConnections(t *testing.T) {
	files := listen(t, "127.0.0.1:0", 2)
	addr := localAddr(t, files[0]).String()
	// The server closes first, so TIME_WAIT is on its side.
	for range 16 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if fd, _, err := unix.Accept(int(f.Fd())); err == nil {
				unix.Close(fd)
			}
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("read from a closed connection")
		}
		c.Close()
	}
	closeAll(files)
	listen(t, addr, 2)
}

func TestListenBadAddress(t *testing.T) {
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "192.0.2.1:0"} {
		if files, err := Listen(addr, 2); err == nil {
			closeAll(files)
			t.Errorf("%q: no error", addr)
		}
	}
	if _, err := Listen("127.0.0.1:0", 0); !errors.Is(err, ErrLimit) {
		t.Errorf("no copies: %v", err)
	}
}

func TestInUseErrorText(t *testing.T) {
	tests := []struct {
		err  InUseError
		want string
	}{
		{InUseError{"127.0.0.1:8000", 12, "nginx"}, "127.0.0.1:8000 is in use by nginx (pid 12)"},
		{InUseError{"127.0.0.1:8000", 12, ""}, "127.0.0.1:8000 is in use by process 12"},
		{InUseError{"127.0.0.1:8000", 0, ""}, "127.0.0.1:8000 is in use by another process"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		if !errors.Is(&tt.err, syscall.EADDRINUSE) {
			t.Error("not EADDRINUSE")
		}
	}
}
