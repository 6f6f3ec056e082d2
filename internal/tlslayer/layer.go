// Package tlslayer is TLS between a connection of a loop and its handler. The handshake takes its time over the
// socket, in a goroutine; then what the loop has read is decrypted at once, and what it sends encrypted.
package tlslayer

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/internal/reactor"
)

// wire is what crypto/tls takes for the network: the socket itself during the handshake, and then
// what the loop has read and will write. Reading more than that fails with errWouldBlock, after which
// tls.Conn.Read may be called again: it keeps incomplete records, and an error that is a temporary
// net.Error does not stick (crypto/tls, Conn.readRecordOrCCS).
type wire struct {
	file *os.File // nil after the handshake
	in   []byte   // read, not yet taken
	last bool     // nothing comes behind in
	cut  bool     // the end of in was met as the end of the stream: the peer has not said that it ends
	out  *[]byte  // what is to be written; lent by the loop, empty between two calls
}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read yet" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var errWouldBlock net.Error = wouldBlock{}

func (w *wire) Read(p []byte) (int, error) {
	switch {
	case w.file != nil:
		return w.file.Read(p)
	case len(w.in) > 0:
		n := copy(p, w.in)
		w.in = w.in[n:]
		return n, nil
	case w.last:
		w.cut = true
		return 0, io.EOF
	}
	return 0, errWouldBlock
}

func (w *wire) Write(p []byte) (int, error) {
	if w.file != nil {
		return w.file.Write(p)
	}
	*w.out = append(*w.out, p...)
	return len(p), nil
}

// Deadlines are the handshake's, on the file; the loop has its own.

func (*wire) Close() error                     { return nil }
func (*wire) LocalAddr() net.Addr              { return nil }
func (*wire) RemoteAddr() net.Addr             { return nil }
func (*wire) SetDeadline(time.Time) error      { return nil }
func (*wire) SetReadDeadline(time.Time) error  { return nil }
func (*wire) SetWriteDeadline(time.Time) error { return nil }

// Layer is TLS over one socket: shake hands, bind it to the connection, and use it there.
type Layer struct {
	conn *reactor.Conn
	tls  *tls.Conn
	wire wire
}

// Server is a layer towards a client, whose socket is file, to be read and written as if it blocked. out is room for
// ciphertext, which all layers of a loop share.
func Server(file *os.File, config *tls.Config, out *[]byte) *Layer {
	l := &Layer{wire: wire{file: file, out: out}}
	l.tls = tls.Server(&l.wire, config)
	return l
}

// Client is a layer towards a server, see [Server].
func Client(file *os.File, config *tls.Config, out *[]byte) *Layer {
	l := &Layer{wire: wire{file: file, out: out}}
	l.tls = tls.Client(&l.wire, config)
	return l
}

// Handshake shakes hands over the file, with the errors of [tls.Conn.Handshake]. A layer for which that has failed is
// of no use; otherwise it is done with the file, not with the socket.
func (l *Layer) Handshake() error {
	if err := l.tls.Handshake(); err != nil {
		return err
	}
	l.wire.file = nil
	return nil
}

// Bind has the layer send over a connection of the same socket.
func (l *Layer) Bind(conn *reactor.Conn) { l.conn = conn }

// Cut reports whether the peer's stream has ended without its saying so (RFC 8446 section 6.1).
func (l *Layer) Cut() bool { return l.wire.cut }

// maxRecord is the longest plaintext of a record (RFC 8446 section 5.1).
const maxRecord = 16 << 10

// Open decrypts.
func (l *Layer) Open(dst, sealed []byte, last bool) (opened []byte, eof bool, err error) {
	l.wire.in, l.wire.last = sealed, last
	defer l.flush() // alerts, and answers to new keys
	for {
		dst = slices.Grow(dst, maxRecord)
		n, err := l.tls.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case err == nil:
		case errors.Is(err, errWouldBlock):
			l.wire.in = nil
			return dst, false, nil
		case errors.Is(err, io.EOF):
			return dst, true, nil
		default:
			return dst, false, err
		}
	}
}

// Seal encrypts and sends.
func (l *Layer) Seal(p []byte) {
	_, _ = l.tls.Write(p) // fails only where Open has failed
	l.flush()
}

// CloseWrite says that nothing more will come.
func (l *Layer) CloseWrite() {
	_ = l.tls.CloseWrite()
	l.flush()
}

// maxKeptOut is how much room for ciphertext is kept between two calls.
const maxKeptOut = 256 << 10

func (l *Layer) flush() {
	out := *l.wire.out
	l.conn.SendSealed(out)
	if *l.wire.out = out[:0]; cap(out) > maxKeptOut {
		*l.wire.out = nil
	}
}

var _ reactor.Layer = (*Layer)(nil)
