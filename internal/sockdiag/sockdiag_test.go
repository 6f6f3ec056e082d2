package sockdiag

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen opens a listener that ends with the test.
func listen(t testing.TB, network, address string) (net.Listener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("listen on %s %s: %v", network, address, err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).AddrPort()
}

// connect opens n connections and returns their client ends; both ends close with the test.
func connect(t testing.TB, l net.Listener, address string, n int) []net.Conn {
	t.Helper()
	var conns []net.Conn
	for range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		conns = append(conns, c)
	}
	return conns
}

func mustCount(t testing.TB, servers ...netip.AddrPort) []int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	counts, err := Count(ctx, servers)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func TestCount(t *testing.T) {
	l4, a4 := listen(t, "tcp4", "127.0.0.1:0")
	l6, a6 := listen(t, "tcp6", "[::1]:0")
	dual, aDual := listen(t, "tcp", ":0")
	mapped := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), aDual.Port())

	connect(t, l4, a4.String(), 3)
	connect(t, l6, a6.String(), 2)
	connect(t, dual, mapped.String(), 4)
	connect(t, dual, netip.AddrPortFrom(netip.IPv6Loopback(), aDual.Port()).String(), 1)

	for _, c := range []struct {
		name string
		ask  netip.AddrPort
		want int
	}{
		{"IPv4", a4, 3},
		{"IPv4 in IPv6 form", netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), a4.Port()), 3},
		{"any IPv4", netip.AddrPortFrom(netip.IPv4Unspecified(), a4.Port()), 3},
		{"no IP", netip.AddrPortFrom(netip.Addr{}, a4.Port()), 3},
		{"other IP", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), a4.Port()), 0},
		{"IPv6", a6, 2},
		{"dual stack, IPv4 side", mapped, 4},
		{"dual stack, IPv6 side", netip.AddrPortFrom(netip.IPv6Loopback(), aDual.Port()), 1},
		{"dual stack, all", aDual, 5},
	} {
		if got := mustCount(t, c.ask)[0]; got != c.want {
			t.Errorf("%s: %s has %d connections, want %d", c.name, c.ask, got, c.want)
		}
	}

	got := mustCount(t, a4, a6, aDual, mapped, a4)
	if want := []int{3, 2, 5, 4, 3}; !slices.Equal(got, want) {
		t.Errorf("together: %v, want %v", got, want)
	}
}

func TestCountFollowsConnections(t *testing.T) {
	l, addr := listen(t, "tcp4", "127.0.0.1:0")
	conns := connect(t, l, addr.String(), 2)
	if got := mustCount(t, addr)[0]; got != 2 {
		t.Fatalf("%d connections, want 2", got)
	}
	conns[0].Close()
	waittest.Until(t, time.Minute, "a closed connection to count no more", func() bool { return mustCount(t, addr)[0] == 1 })
}

func TestCountOfNothing(t *testing.T) {
	if got := mustCount(t); len(got) != 0 {
		t.Errorf("counts of no server: %v", got)
	}
}

func TestCountManyServers(t *testing.T) {
	l, addr := listen(t, "tcp4", "127.0.0.1:0")
	connect(t, l, addr.String(), 1)
	var servers []netip.AddrPort
	for i := range 200 {
		servers = append(servers, netip.AddrPortFrom(netip.MustParseAddr("127.9.9.9"), uint16(1+i)))
	}
	servers = slices.Insert(servers, 100, addr)
	servers = append(servers, netip.AddrPortFrom(netip.Addr{}, addr.Port()))
	counts := mustCount(t, servers...)
	if counts[100] != 1 || counts[201] != 1 {
		t.Errorf("counts %d and %d, want 1 and 1", counts[100], counts[201])
	}
}

func TestCountCanceled(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	_, err := Count(ctx, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")})
	if !errors.Is(err, cause) {
		t.Errorf("error %v, want %v", err, cause)
	}
}

func TestListener(t *testing.T) {
	_, addr := listen(t, "tcp4", "127.0.0.1:0")
	pid, process, err := Listener(addr)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil || pid != os.Getpid() || process == "" {
		t.Errorf("listener is %d %q, %v; want this process, %d", pid, process, err, os.Getpid())
	}
	free := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), addr.Port())
	if pid, _, err := Listener(free); !errors.Is(err, ErrNotListening) {
		t.Errorf("free address: process %d, error %v", pid, err)
	}
}

func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		mine, wanted string
		only6        bool
		want         bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", false, true},
		{"127.0.0.1:80", "127.0.0.1:81", false, false},
		{"127.0.0.1:80", "127.0.0.2:80", false, false},
		{"0.0.0.0:80", "127.0.0.1:80", false, true},
		{"127.0.0.1:80", "0.0.0.0:80", false, true},
		{"[::]:80", "127.0.0.1:80", false, true},
		{"[::]:80", "127.0.0.1:80", true, false},
		{"[::]:80", "[::1]:80", true, true},
		{"[::]:80", "0.0.0.0:80", false, true},
		{"[::]:80", "0.0.0.0:80", true, false},
		{"[::1]:80", "0.0.0.0:80", false, false},
		{"0.0.0.0:80", "[::]:80", false, true},
		{"127.0.0.1:80", "[::]:80", false, true},
		{"0.0.0.0:80", "[::1]:80", false, false},
		{"[::1]:80", "[::]:80", false, true},
		{"[::ffff:127.0.0.1]:80", "127.0.0.1:80", false, true},
	} {
		s := socket{local: netip.MustParseAddrPort(c.mine), only6: c.only6, listen: true}
		if got := s.blocks(netip.MustParseAddrPort(c.wanted)); got != c.want {
			t.Errorf("%s (only6 %v) blocks %s: %v, want %v", c.mine, c.only6, c.wanted, got, c.want)
		}
	}
	any80 := netip.AddrPortFrom(netip.Addr{}, 80)
	if s := (socket{local: netip.MustParseAddrPort("127.0.0.1:80"), listen: true}); !s.blocks(any80) {
		t.Error("127.0.0.1:80 does not block :80")
	}
}
