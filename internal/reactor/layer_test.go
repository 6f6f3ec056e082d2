package reactor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
)

// mirror is a Layer whose records are a length of two bytes and the bytes inverted; a record without
// any ends the stream, and one that is too long is an error.
type mirror struct {
	conn *Conn
	kept []byte // of a record, or what came before the layer
}

const longestRecord = 1000

var errRecord = errors.New("record too long")

func (m *mirror) Open(dst, sealed []byte, last bool) ([]byte, bool, error) {
	m.kept = append(m.kept, sealed...)
	for len(m.kept) >= 2 {
		n := int(binary.BigEndian.Uint16(m.kept))
		switch {
		case n == 0:
			return dst, true, nil
		case n > longestRecord:
			return dst, false, errRecord
		case len(m.kept) < 2+n:
			if last {
				return dst, false, io.ErrUnexpectedEOF
			}
			return dst, false, nil
		}
		for _, b := range m.kept[2 : 2+n] {
			dst = append(dst, ^b)
		}
		m.kept = append(m.kept[:0], m.kept[2+n:]...)
	}
	if last && len(m.kept) > 0 {
		return dst, false, io.ErrUnexpectedEOF
	}
	return dst, last, nil
}

func (m *mirror) Seal(p []byte) { m.conn.SendSealed(sealed(p)) }
func (m *mirror) CloseWrite()   { m.conn.SendSealed([]byte{0, 0}) }

func sealed(p []byte) (out []byte) {
	for len(p) > 0 {
		n := min(len(p), longestRecord)
		out = binary.BigEndian.AppendUint16(out, uint16(n))
		for _, b := range p[:n] {
			out = append(out, ^b)
		}
		p = p[n:]
	}
	return out
}

// unsealed reads records up to the end within the layer.
func unsealed(r io.Reader) (opened []byte, err error) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return opened, err
		}
		p := make([]byte, binary.BigEndian.Uint16(head[:]))
		if len(p) == 0 {
			return opened, nil
		}
		if _, err := io.ReadFull(r, p); err != nil {
			return opened, err
		}
		for _, b := range p {
			opened = append(opened, ^b)
		}
	}
}

func attachLayered(t testing.TB, l *Loop, r *recorder, before []byte) *net.TCPConn {
	t.Helper()
	fd, peer := tcpPair(t)
	on(l, func() {
		if err := l.AttachLayered(&r.Conn, fd, r, &mirror{conn: &r.Conn, kept: before}); err != nil {
			t.Error(err)
		}
	})
	return peer
}

// Megabytes in records of all sizes come back whole while the peer reads late, through leftovers in
// the layer, pauses within an offer and ends on both sides.
func TestLayeredEcho(t *testing.T) {
	l := startLoop(t)
	r := newRecorder(nil)
	var full atomic.Bool // the kernel's buffers, as nobody reads
	r.data = func(c *Conn, p []byte) int {
		n := len(p)
		if n > 7 {
			n -= 7 // some is offered again
		}
		c.Send(p[:n])
		if c.Pending() > 0 {
			full.Store(true)
			c.Pause()
		} else if n < len(p) {
			c.Pause() // within the offer
			c.Resume()
		}
		return n
	}
	r.onDrained = func(c *Conn) { c.Resume() }
	r.onEOF = func(c *Conn) { c.CloseWrite() }
	want := make([]byte, 4<<20)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	wire := append(sealed(want), 0, 0)
	peer := attachLayered(t, l, r, wire[:1501:1501])
	go func() {
		for p := wire[1501:]; len(p) > 0; {
			n := min(len(p), 1+rand.IntN(100_000))
			_, _ = peer.Write(p[:n])
			p = p[n:]
		}
	}()
	waitFor(t, "buffers to be full, or all to have come", func() bool { return full.Load() || len(r.eof) > 0 })
	got, err := unsealed(peer)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("echoed %d bytes of %d, %v", len(got), len(want), err)
	}
	if n, err := peer.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the last record: %d bytes, %v", n, err)
	}
	if err := receive(t, "close", r.closed); err != nil {
		t.Errorf("closed with %v", err)
	}
}

// What the layer had before it was attached is offered without a word from the peer, and not within
// the call.
func TestLayerWithLeftovers(t *testing.T) {
	l := startLoop(t)
	heard := make(chan string, 1)
	r := newRecorder(func(_ *Conn, p []byte) int { heard <- string(p); return len(p) })
	fd, _ := tcpPair(t)
	on(l, func() {
		if err := l.AttachLayered(&r.Conn, fd, r, &mirror{conn: &r.Conn, kept: sealed([]byte("hello"))}); err != nil {
			t.Error(err)
		}
		if len(heard) > 0 {
			t.Error("offered within the call")
		}
	})
	if got := receive(t, "input", heard); got != "hello" {
		t.Errorf("offered %q", got)
	}
}

// A pause within the last offer keeps the end back as well.
func TestLayeredEndWaitsForResume(t *testing.T) {
	l := startLoop(t)
	heard := make(chan string, 8)
	r := newRecorder(func(c *Conn, p []byte) int {
		heard <- string(p)
		if len(p) == 4 {
			c.Pause()
			return 2
		}
		return len(p)
	})
	peer := attachLayered(t, l, r, nil)
	_, _ = peer.Write(append(sealed([]byte("abcd")), 0, 0))
	receive(t, "input", heard)
	on(l, func() {})
	select {
	case <-r.eof:
		t.Fatal("the end came during a pause")
	default:
	}
	on(l, r.Resume)
	if got := receive(t, "the rest", heard); got != "cd" {
		t.Errorf("offered %q", got)
	}
	receive(t, "the end", r.eof)
	on(l, func() { r.Send([]byte("bye")); r.CloseAfterFlush() }) // half closed: writing goes on
	if got, err := unsealed(peer); err != nil || string(got) != "bye" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := receive(t, "close", r.closed); err != nil {
		t.Errorf("closed with %v", err)
	}
}

// The end of the wire is an end between two records and an error within one; so is a bad record, but
// what came before it is offered.
func TestLayeredEnds(t *testing.T) {
	for name, test := range map[string]struct {
		tail []byte
		want error
	}{
		"between": {nil, nil}, "within": {[]byte{0, 9, 1}, io.ErrUnexpectedEOF}, "bad": {[]byte{255, 255}, errRecord},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLoop(t)
			heard := make(chan string, 1)
			r := newRecorder(func(_ *Conn, p []byte) int { heard <- string(p); return len(p) })
			r.onEOF = func(c *Conn) { c.Close() }
			peer := attachLayered(t, l, r, nil)
			_, _ = peer.Write(append(sealed([]byte("x")), test.tail...))
			_ = peer.CloseWrite()
			if got := receive(t, "input", heard); got != "x" {
				t.Errorf("offered %q", got)
			}
			if err := receive(t, "close", r.closed); !errors.Is(err, test.want) {
				t.Errorf("closed with %v, want %v", err, test.want)
			}
		})
	}
}
