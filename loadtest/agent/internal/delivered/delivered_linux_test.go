package delivered

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

// What the other side has not got is not delivered, whether it still takes it or not.
func TestAll(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	raw, err := near.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	all := func() (all bool) {
		if err := raw.Control(func(fd uintptr) { all = All(int(fd)) }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if !all() {
		t.Error("nothing is not delivered")
	}
	_ = near.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := near.Write(make([]byte, 64<<20))
	if err == nil {
		t.Skip("the kernel takes more than that")
	}
	if all() {
		t.Error("more is delivered than there is room for")
	}
	if _, err := io.CopyN(io.Discard, far, int64(n)); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, time.Minute, "all to be acknowledged", all)
}
