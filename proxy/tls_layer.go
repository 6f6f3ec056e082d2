package proxy

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

// tlsWire is what crypto/tls takes for the network: the socket itself during the handshake, and then
// what the loop has read and will write. Reading more than that fails with errWouldBlock, after which
// tls.Conn.Read may be called again: it keeps incomplete records, and an error that is a temporary
// net.Error does not stick (crypto/tls, Conn.readRecordOrCCS).
type tlsWire struct {
	file *os.File // nil after the handshake
	in   []byte   // read, not yet taken
	last bool     // nothing comes behind in
	cut  bool     // the end of in was met as the end of the stream: the peer has not said that it ends
	out  *[]byte  // what is to be written; lent by the worker, empty between two calls
}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read yet" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var errWouldBlock net.Error = wouldBlock{}

func (t *tlsWire) Read(p []byte) (int, error) {
	switch {
	case t.file != nil:
		return t.file.Read(p)
	case len(t.in) > 0:
		n := copy(p, t.in)
		t.in = t.in[n:]
		return n, nil
	case t.last:
		t.cut = true
		return 0, io.EOF
	}
	return 0, errWouldBlock
}

func (t *tlsWire) Write(p []byte) (int, error) {
	if t.file != nil {
		return t.file.Write(p)
	}
	*t.out = append(*t.out, p...)
	return len(p), nil
}

// Deadlines are the handshake's, on the file; the loop has its own.

func (*tlsWire) Close() error                     { return nil }
func (*tlsWire) LocalAddr() net.Addr              { return nil }
func (*tlsWire) RemoteAddr() net.Addr             { return nil }
func (*tlsWire) SetDeadline(time.Time) error      { return nil }
func (*tlsWire) SetReadDeadline(time.Time) error  { return nil }
func (*tlsWire) SetWriteDeadline(time.Time) error { return nil }

// tlsLayer is TLS between a socket and its client, once they have shaken hands.
type tlsLayer struct {
	conn *reactor.Conn
	tls  *tls.Conn
	wire *tlsWire
}

// maxRecord is the longest plaintext of a record.
const maxRecord = 16 << 10

// Open decrypts.
func (l *tlsLayer) Open(dst, sealed []byte, last bool) (opened []byte, eof bool, err error) {
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
func (l *tlsLayer) Seal(p []byte) {
	_, _ = l.tls.Write(p) // fails only where Open has failed
	l.flush()
}

// CloseWrite says that nothing more will come.
func (l *tlsLayer) CloseWrite() {
	_ = l.tls.CloseWrite()
	l.flush()
}

// maxKeptOut is how much room for ciphertext is kept between two calls.
const maxKeptOut = 256 << 10

func (l *tlsLayer) flush() {
	out := *l.wire.out
	l.conn.SendSealed(out)
	if *l.wire.out = out[:0]; cap(out) > maxKeptOut {
		*l.wire.out = nil
	}
}

var _ reactor.Layer = (*tlsLayer)(nil)
