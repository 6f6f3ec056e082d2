package prefork

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrBacklog says that the other side has not read its control stream for so long that 64 MiB wait
// for it. The message was not sent, and none will be any more: a stream is gapless or dead.
var ErrBacklog = errors.New("control stream: the other side does not read")

// stream is one end of a control stream. Sending never blocks: what the kernel does not take at
// once is queued and written by a goroutine that lives as long as there is a queue.
type stream struct {
	conn  *net.UnixConn
	raw   syscall.RawConn
	in    *bufio.Reader // owned by the one goroutine that receives
	limit int           // bytes that may wait

	mu     sync.Mutex
	queue  [][]byte
	queued int   // bytes in queue and in the hands of flush
	busy   bool  // flush runs, or the stream is held: queue, do not write
	err    error // why nothing can be sent any more
}

func newStream(conn *net.UnixConn) (*stream, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &stream{conn: conn, raw: raw, in: bufio.NewReader(conn), limit: maxBytes}, nil
}

// hold makes a fresh stream queue what is sent, until release.
func (s *stream) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = true
}

// release sends first, if there is one, and then what was queued since hold.
func (s *stream) release(first []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if first != nil {
		s.queue = append([][]byte{first}, s.queue...)
		s.queued += len(first)
	}
	go s.flush()
	return nil
}

// send queues or writes one line. It keeps the slice and never changes it.
func (s *stream) send(line []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.queued+len(line) > s.limit {
		s.err = ErrBacklog
		return s.err
	}
	if !s.busy {
		n, err := s.writeNow(line)
		if err != nil {
			s.err = err
			return err
		}
		if line = line[n:]; len(line) == 0 {
			return nil
		}
		s.busy = true
		go s.flush()
	}
	s.queue = append(s.queue, line)
	s.queued += len(line)
	return nil
}

// writeNow writes what the kernel takes without waiting, so that a message sent just before a
// process ends still arrives.
func (s *stream) writeNow(p []byte) (n int, err error) {
	ctlErr := s.raw.Write(func(fd uintptr) bool {
		for {
			if n, err = unix.Write(int(fd), p); !errors.Is(err, unix.EINTR) {
				return true
			}
		}
	})
	if errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	return max(n, 0), errors.Join(ctlErr, err)
}

// flush writes the queue, waiting for the peer as long as it takes. close ends it.
func (s *stream) flush() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 || s.err != nil {
			s.queue, s.busy = nil, false
			s.mu.Unlock()
			return
		}
		line := s.queue[0]
		s.queue[0], s.queue = nil, s.queue[1:]
		s.mu.Unlock()

		_, err := s.conn.Write(line)

		s.mu.Lock()
		s.queued -= len(line)
		if err != nil && s.err == nil {
			s.err = err
		}
		s.mu.Unlock()
	}
}

// receive returns the next message. Only one goroutine may call it.
func (s *stream) receive() (Message, error) { return decode(s.in) }

// close ends the stream: receive and flush return.
func (s *stream) close() {
	s.mu.Lock()
	if s.err == nil {
		s.err = net.ErrClosed
	}
	s.mu.Unlock()
	_ = s.conn.Close()
}
