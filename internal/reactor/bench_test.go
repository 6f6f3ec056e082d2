package reactor

import (
	"net"
	"runtime"
	"testing"
	"unsafe"
)

// loopback gives a loop turned by hand, with one echoing connection.
func loopback(t testing.TB) (*Loop, *net.TCPConn) {
	l, err := NewLoop(Options{})
	if err != nil {
		t.Fatal(err)
	}
	fd, peer := tcpPair(t)
	c := &echoConn{}
	if err := l.Attach(&c.Conn, fd, c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.shutdown)
	return l, peer
}

// roundTrip has the peer say something and the loop answer it.
func roundTrip(t testing.TB, l *Loop, peer int, buf []byte) {
	if _, err := rawWrite(peer, buf); err != nil {
		t.Fatal(err)
	}
	for {
		if err := l.turn(); err != nil {
			t.Fatal(err)
		}
		if n, err := rawRead(peer, buf); err == nil && n == len(buf) {
			return
		}
	}
}

func rawPair(t testing.TB) (l *Loop, peer int) {
	l, conn := loopback(t)
	f, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return l, int(f.Fd())
}

func TestEventsDoNotAllocate(t *testing.T) {
	l, peer := rawPair(t)
	buf := make([]byte, 100)
	var timer Timer
	nop := funcExpirer(func(*Timer) {})
	post := func() {}
	allocs := testing.AllocsPerRun(500, func() {
		l.Schedule(&timer, 0, nop)
		l.Post(post)
		roundTrip(t, l, peer, buf)
	})
	if allocs != 0 {
		t.Errorf("%.1f allocations in a turn with data, a timer and a post", allocs)
	}
}

func TestKeptBytesDoNotAllocate(t *testing.T) {
	l, peer := rawPair(t)
	c := l.conns[len(l.conns)-1]
	for _, other := range l.conns {
		if other != nil {
			c = other
		}
	}
	payload := make([]byte, 3000)
	allocs := testing.AllocsPerRun(100, func() {
		c.flags &^= flagWritable
		c.Send(payload)
		c.flags |= flagWritable
		c.flush()
		buf := l.scratch
		for n := 0; n < len(payload); {
			got, _ := rawRead(peer, buf)
			n += got
		}
	})
	if allocs != 0 {
		t.Errorf("%.1f allocations for keeping and flushing output", allocs)
	}
}

func TestIdleConnectionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 48 {
		t.Errorf("a Conn takes %d bytes", size)
	}
	if size := unsafe.Sizeof(Timer{}); size > 48 {
		t.Errorf("a Timer takes %d bytes", size)
	}
}

// BenchmarkEcho is one small message in and out: the floor of what a relay
// costs a message, system calls included.
func BenchmarkEcho(b *testing.B) {
	l, peer := rawPair(b)
	buf := make([]byte, 100)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	for b.Loop() {
		roundTrip(b, l, peer, buf)
	}
}

func BenchmarkTimer(b *testing.B) {
	l, err := NewLoop(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.shutdown()
	timers := make([]Timer, 10_000)
	nop := funcExpirer(func(*Timer) {})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Schedule(&timers[i%len(timers)], 300e9, nop)
	}
}
