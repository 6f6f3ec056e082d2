package tlslayer

import (
	"errors"
	"io"
	"net"
	"testing"
)

// After the handshake, what was read is taken, then nothing is there yet, and at the end it is told.
func TestWire(t *testing.T) {
	var out []byte
	w := wire{in: []byte("sealed"), out: &out}
	p := make([]byte, 4)
	for _, want := range []string{"seal", "ed"} {
		if n, err := w.Read(p); err != nil || string(p[:n]) != want {
			t.Errorf("%q, %v, want %q", p[:n], err, want)
		}
	}
	var temporary net.Error
	if n, err := w.Read(p); n != 0 || !errors.As(err, &temporary) || !temporary.Timeout() || w.cut {
		t.Errorf("%d bytes, %v, cut: %v", n, err, w.cut)
	}
	w.in, w.last = []byte("x"), true
	if n, err := w.Read(p); n != 1 || err != nil || w.cut {
		t.Errorf("%d bytes, %v, cut: %v", n, err, w.cut)
	}
	if n, err := w.Read(p); n != 0 || !errors.Is(err, io.EOF) || !w.cut {
		t.Errorf("%d bytes, %v, cut: %v", n, err, w.cut)
	}
	for _, piece := range []string{"to be ", "sent"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
	}
	if string(out) != "to be sent" {
		t.Errorf("%q", out)
	}
}
