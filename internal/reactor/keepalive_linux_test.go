package reactor

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func option(t *testing.T, fd, level, name int) int {
	t.Helper()
	value, err := unix.GetsockoptInt(fd, level, name)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// Whoever is accepted is asked when it is silent, and given up after the listener's patience.
func TestAcceptedAreKeptAlive(t *testing.T) {
	l := startLoop(t)
	fd, addr := listenFD(t)
	accepted := make(chan int, 4)
	var ln *Listener
	on(l, func() {
		var err error
		if ln, err = l.Listen(fd, acceptFuncs{func(fd int) { accepted <- fd }, func(err error) { t.Error(err) }}); err != nil {
			t.Error(err)
		}
	})
	for _, patience := range []time.Duration{0, time.Minute, 2500 * time.Millisecond, 0} {
		on(l, func() { ln.Patience(patience) })
		client, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		fd := receive(t, "a connection", accepted)
		for name, want := range map[int]int{unix.TCP_KEEPIDLE: keepIdle, unix.TCP_KEEPINTVL: keepInterval, unix.TCP_KEEPCNT: keepProbes, unix.TCP_USER_TIMEOUT: int(patience / time.Millisecond)} {
			if got := option(t, fd, unix.IPPROTO_TCP, name); got != want {
				t.Errorf("option %d is %d, want %d", name, got, want)
			}
		}
		if option(t, fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE) == 0 {
			t.Error("not kept alive")
		}
		unix.Close(fd)
		client.Close()
	}
}

// So are connections to other machines, which something between may forget.
func TestDialledAreKeptAlive(t *testing.T) {
	for to, want := range map[string]int{"192.0.2.1": 1, "127.0.0.1": 0} {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := prepare(fd, netip.MustParseAddr(to), netip.Addr{}); err != nil {
			t.Error(err)
		}
		if got := option(t, fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != want {
			t.Errorf("%s: %d", to, got)
		}
		unix.Close(fd)
	}
}
