package node

import (
	"net"
	"sync"
	"sync/atomic"
)

// boundedListener turns away connections beyond a number, so that HTTP cannot use up the descriptors of
// the primary.
type boundedListener struct {
	net.Listener
	open *atomic.Int64 // may be shared by several listeners
	most int64
}

// overloaded is what a connection that is one too many gets.
const overloaded = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &boundedConn{Conn: c, release: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		_, _ = c.Write([]byte(overloaded)) // does not block: the send buffer of a new socket is empty
		_ = c.Close()
	}
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
