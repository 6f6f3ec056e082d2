package reactor

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// waitFully waits on although a signal interrupts, as the runtime's do at any time.
func waitFully(p *poller, ms int) (n int, err error) {
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); n == 0 && err == nil && time.Now().Before(end); {
		n, err = p.wait(int(time.Until(end).Milliseconds()) + 1)
	}
	return n, err
}

// The conformance test of pollers: what Loop relies on, whatever the system.
func TestPoller(t *testing.T) {
	newPair := func(t *testing.T) (a, b int) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if err := unix.SetNonblock(fd, true); err != nil {
				t.Fatal(err)
			}
		}
		return fds[0], fds[1]
	}
	// collect gathers what is reported of fd until nothing more comes.
	collect := func(t *testing.T, p *poller, fd int) (got event) {
		for {
			n, err := waitFully(p, 50)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				return got
			}
			for i := range n {
				if e := p.event(i); e.fd == fd {
					got.fd = fd
					got.readable = got.readable || e.readable
					got.writable = got.writable || e.writable
					got.eof = got.eof || e.eof
					got.failed = got.failed || e.failed
				}
			}
		}
	}
	setup := func(t *testing.T) (p *poller, a, b int) {
		p, err := newPoller()
		if err != nil {
			t.Fatal(err)
		}
		a, b = newPair(t)
		t.Cleanup(func() { p.close(); unix.Close(a); unix.Close(b) })
		return p, a, b
	}

	t.Run("reports what is already the case, once", func(t *testing.T) {
		p, a, b := setup(t)
		if _, err := unix.Write(b, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := p.watch(a); err != nil {
			t.Fatal(err)
		}
		if got := collect(t, p, a); !got.readable || !got.writable || got.eof || got.failed {
			t.Fatalf("first reports: %+v", got)
		}
		if got := collect(t, p, a); got != (event{}) {
			t.Fatalf("reported again without a change: %+v", got)
		}
	})

	t.Run("reports new input, then the peer's end of stream", func(t *testing.T) {
		p, a, b := setup(t)
		if err := p.watch(a); err != nil {
			t.Fatal(err)
		}
		collect(t, p, a)
		if _, err := unix.Write(b, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if got := collect(t, p, a); !got.readable || got.eof {
			t.Fatalf("after a write: %+v", got)
		}
		if err := unix.Shutdown(b, unix.SHUT_WR); err != nil {
			t.Fatal(err)
		}
		if got := collect(t, p, a); !got.readable || !got.eof {
			t.Fatalf("after the peer's shutdown: %+v", got)
		}
	})

	t.Run("reports room after a full socket was drained", func(t *testing.T) {
		p, a, b := setup(t)
		if err := p.watch(a); err != nil {
			t.Fatal(err)
		}
		chunk := make([]byte, 64<<10)
		for {
			if _, err := unix.Write(a, chunk); err == unix.EAGAIN {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		collect(t, p, a)
		for {
			if _, err := unix.Read(b, chunk); err == unix.EAGAIN {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if got := collect(t, p, a); !got.writable {
			t.Fatalf("after draining: %+v", got)
		}
	})

	t.Run("a listener is reported as long as somebody waits", func(t *testing.T) {
		p, err := newPoller()
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		fd, addr := listenFD(t)
		defer unix.Close(fd)
		if err := p.listen(fd); err != nil {
			t.Fatal(err)
		}
		c, err := connect(addr, addr.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		for range 2 {
			n, err := waitFully(p, 5000)
			if err != nil || n == 0 {
				t.Fatalf("wait: %d, %v", n, err)
			}
			if e := p.event(0); e.fd != fd || !e.readable {
				t.Fatalf("event: %+v", e)
			}
		}
		if err := p.unlisten(fd); err != nil {
			t.Fatal(err)
		}
		if got := collect(t, p, fd); got != (event{}) {
			t.Fatalf("reported after unlisten: %+v", got)
		}
	})

	t.Run("wake ends a wait, each time", func(t *testing.T) {
		p, _, _ := setup(t)
		for range 3 {
			go p.wake()
			n, err := waitFully(p, 5000)
			if err != nil || n != 1 || p.event(0).fd != -1 {
				t.Fatalf("wait: %d, %v", n, err)
			}
		}
	})

	t.Run("a closed descriptor is forgotten", func(t *testing.T) {
		p, err := newPoller()
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		a, b := newPair(t)
		defer unix.Close(b)
		if err := p.watch(a); err != nil {
			t.Fatal(err)
		}
		collect(t, p, a)
		unix.Close(a)
		if n, err := waitFully(p, 20); n != 0 || err != nil {
			t.Fatalf("wait: %d, %v", n, err)
		}
	})
}
