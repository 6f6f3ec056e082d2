package sockdiag

import (
	"encoding/binary"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// message builds one netlink message.
func message(kind uint16, body ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(headerSize+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, make([]byte, 10)...)
	b = append(b, body...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

// diag builds the body of a socket message.
func diag(family, state byte, local netip.AddrPort, inode uint32, attrs ...byte) []byte {
	b := make([]byte, diagSize)
	b[0], b[offsetState] = family, state
	binary.BigEndian.PutUint16(b[offsetSport:], local.Port())
	copy(b[offsetSource:], local.Addr().AsSlice())
	binary.NativeEndian.PutUint32(b[offsetInode:], inode)
	return append(b, attrs...)
}

// attribute builds one attribute with a value of at most 4 bytes.
func attribute(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(attrHeader+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(append(b, value...), make([]byte, 4-len(value))...)
}

func TestParse(t *testing.T) {
	a4, a6 := netip.MustParseAddrPort("127.0.0.1:9001"), netip.MustParseAddrPort("[::1]:9002")
	shutdown := attribute(8, 0)
	b := slices.Concat(
		message(unix.SOCK_DIAG_BY_FAMILY, diag(unix.AF_INET, stateEstab, a4, 7, shutdown...)...),
		message(unix.NLMSG_NOOP, 1, 2, 3),
		message(unix.SOCK_DIAG_BY_FAMILY, diag(unix.AF_INET6, stateListen, a6, 8, append(shutdown, attribute(attrOnly6, 1)...)...)...),
		message(unix.NLMSG_DONE, 0, 0, 0, 0),
	)
	var got []socket
	done, err := parse(b, func(s socket) { got = append(got, s) })
	if !done || err != nil {
		t.Fatalf("done %v, error %v", done, err)
	}
	want := []socket{{local: a4, inode: 7}, {local: a6, inode: 8, only6: true, listen: true}}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseErrors(t *testing.T) {
	a4 := netip.MustParseAddrPort("127.0.0.1:1")
	errno := binary.NativeEndian.AppendUint32(nil, ^uint32(unix.EPERM)+1)
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"kernel's errno", message(unix.NLMSG_ERROR, errno...), unix.EPERM},
		{"errno at the end", message(unix.NLMSG_DONE, errno...), unix.EPERM},
		{"half a header", message(unix.NLMSG_NOOP)[:7], errMalformed},
		{"length too small", make([]byte, headerSize), errMalformed},
		{"length too big", message(unix.NLMSG_NOOP, 1, 2, 3, 4)[:headerSize+2], errMalformed},
		{"short socket", message(unix.SOCK_DIAG_BY_FAMILY, 1, 2, 3), errMalformed},
		{"strange family", message(unix.SOCK_DIAG_BY_FAMILY, diag(77, stateEstab, a4, 1)...), errMalformed},
	} {
		if _, err := parse(c.b, func(socket) {}); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	a4 := netip.MustParseAddrPort("127.0.0.1:9001")
	f.Add(message(unix.SOCK_DIAG_BY_FAMILY, diag(unix.AF_INET6, stateListen, a4, 7, attribute(attrOnly6, 1)...)...))
	f.Add(message(unix.NLMSG_DONE))
	f.Add(message(unix.NLMSG_ERROR, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		sockets := 0
		done, err := parse(b, func(s socket) {
			sockets++
			if !s.local.IsValid() {
				t.Error("socket without address")
			}
			if s.only6 && !s.listen {
				t.Error("IPv6 only without listening")
			}
		})
		if most := len(b) / (headerSize + diagSize); sockets > most {
			t.Errorf("%d sockets out of %d bytes", sockets, len(b))
		}
		if !done && err == nil && len(b) > 0 && len(b) < headerSize {
			t.Error("less than a header was taken for complete")
		}
	})
}

// TestFilterLayout walks the program along both paths of every condition, as the kernel does.
func TestFilterLayout(t *testing.T) {
	servers := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:9001"),
		netip.AddrPortFrom(netip.Addr{}, 9002),
		netip.MustParseAddrPort("[::1]:9003"),
	}
	for n := 1; n <= len(servers); n++ {
		f := compileFilter(servers[:n])
		at := 0
		for i := range n {
			if f[at] != opSourceCond {
				t.Fatalf("%d servers: instruction %d at %d has code %d", n, i, at, f[at])
			}
			if port := binary.NativeEndian.Uint32(f[at+opSize+4:]); port != uint32(servers[i].Port()) {
				t.Errorf("%d servers: condition %d is about port %d", n, i, port)
			}
			accept := at + int(f[at+1])
			if accept != len(f) {
				if f[accept] != opJump {
					t.Fatalf("%d servers: condition %d is not followed by a jump", n, i)
				}
				accept += int(binary.NativeEndian.Uint16(f[accept+2:]))
			}
			if accept != len(f) {
				t.Errorf("%d servers: condition %d accepts at %d of %d", n, i, accept, len(f))
			}
			at += int(binary.NativeEndian.Uint16(f[at+2:]))
		}
		if at != len(f)+opSize {
			t.Errorf("%d servers: rejects at %d of %d", n, at, len(f))
		}
	}
}

func BenchmarkCount(b *testing.B) {
	l, addr := listen(b, "tcp4", "127.0.0.1:0")
	const pairs = 5000
	connect(b, l, addr.String(), pairs)
	servers := []netip.AddrPort{addr}
	for port := uint16(1); port < 4; port++ {
		servers = append(servers, netip.AddrPortFrom(addr.Addr(), port))
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := mustCount(b, servers...); got[0] != pairs {
			b.Fatalf("%d connections, want %d", got[0], pairs)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/pairs, "ns/match")
}

// TestRequestsAgree asks the kernel in both ways for the same sockets.
func TestRequestsAgree(t *testing.T) {
	four, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer four.Close()
	servers := []netip.AddrPort{netip.MustParseAddrPort(four.Addr().String())}
	if six, err := net.Listen("tcp", "[::1]:0"); err == nil {
		defer six.Close()
		servers = append(servers, netip.MustParseAddrPort(six.Addr().String()))
	}
	for _, s := range servers {
		for range 3 {
			c, err := net.Dial("tcp", s.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
	}
	ask := func(requests ...[]byte) map[netip.AddrPort]int {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "sock_diag")
		defer f.Close()
		seen := make(map[netip.AddrPort]int)
		for _, r := range requests {
			if _, err := f.Write(r); err != nil {
				t.Fatal(err)
			}
			if err := receive(t.Context(), f, make([]byte, receiveBytes), func(s socket) { seen[s.local]++ }); err != nil {
				t.Fatal(err)
			}
		}
		return seen
	}
	program := compileFilter(servers)
	whole := ask(appendWholeRequest(nil, 1<<stateEstab, program))
	parts := ask(appendRequest(nil, unix.AF_INET, 1<<stateEstab, program), appendRequest(nil, unix.AF_INET6, 1<<stateEstab, program))
	if !maps.Equal(whole, parts) || len(whole) != len(servers) || whole[servers[0]] != 3 {
		t.Errorf("at once %v, by family %v", whole, parts)
	}
}
