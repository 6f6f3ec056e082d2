package prefork

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const hashes = true

// A stranger that listens is found on every combination of wildcard and specific address, with and
// without SO_REUSEPORT, and named.
func TestListenDetectsStranger(t *testing.T) {
	tests := []struct{ stranger, ours string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"127.0.0.1:0", "0.0.0.0"},
		{"127.0.0.1:0", ""},
		{"0.0.0.0:0", "127.0.0.1"},
		{"0.0.0.0:0", "0.0.0.0"},
		{"0.0.0.0:0", ""},
		{":0", "127.0.0.1"},
		{":0", "127.0.0.2"},
		{":0", "0.0.0.0"},
		{":0", ""},
	}
	var wg sync.WaitGroup // every attempt lasts as long as sockets may linger: all at once
	for _, tt := range tests {
		for _, lc := range []net.ListenConfig{{}, {Control: reusePort}} {
			wg.Go(func() {
				l, err := listenTCP(tt.stranger, lc)
				if err != nil {
					t.Error(err)
					return
				}
				defer l.Close()
				addr := net.JoinHostPort(tt.ours, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
				files, err := Listen(addr, 3)
				var inUse *InUseError
				if !errors.As(err, &inUse) {
					closeAll(files)
					t.Errorf("listened on %s beside %s: %v", addr, l.Addr(), err)
				} else if inUse.Addr != addr || inUse.PID != os.Getpid() || inUse.Process == "" {
					t.Errorf("%+v, want address %s of process %d", inUse, addr, os.Getpid())
				}
			})
		}
	}
	wg.Wait()
}

// Our own group is a stranger to the next one, which would silently take half of its connections.
func TestListenTwice(t *testing.T) {
	files := listen(t, "127.0.0.1:0", 3)
	addr := localAddr(t, files[0]).String()
	if second, err := Listen(addr, 3); err == nil {
		closeAll(second)
		t.Fatal("second group on the same address")
	}
}

// Two groups share a port number on two addresses.
func TestListenNeighbours(t *testing.T) {
	const attempts = 5 // somebody else may have the port on the second address
	for i := range attempts {
		files := listen(t, "127.0.0.1:0", 2)
		neighbours, err := Listen(fmt.Sprintf("127.0.0.2:%d", localAddr(t, files[0]).Port), 2)
		closeAll(neighbours)
		if err == nil {
			return
		}
		if i == attempts-1 {
			t.Fatal(err)
		}
	}
}

// The address is tried again while the sockets of a killed process linger.
func TestListenWaitsForLingeringSockets(t *testing.T) {
	l, err := listenTCP("127.0.0.1:0", net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(lingering/4, func() { l.Close() })
	listen(t, l.Addr().String(), 2)
}

func TestListenBacklog(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Skip(err)
	}
	want, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range listen(t, "127.0.0.1:0", 2) {
		info, err := unix.GetsockoptTCPInfo(int(f.Fd()), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			t.Fatal(err)
		}
		// For a listening socket the field holds the length of its accept queue.
		if got := int(info.Sacked); got != want {
			t.Errorf("accept queue of %d, want %d", got, want)
		}
	}
}
