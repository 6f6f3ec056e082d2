package bus

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// stream is messages over a connection, one a line.
type stream struct {
	conn net.Conn
	in   *bufio.Reader
	most int // bytes of a message, until the other end is known

	mu      sync.Mutex
	queue   [][]byte
	waiting int           // bytes, also those in the hands of write
	written chan struct{} // closed when all is; nil when nothing is being written
	err     error         // why nothing can be sent any more
}

func newStream(conn net.Conn) *stream {
	return &stream{conn: conn, in: bufio.NewReaderSize(conn, maxFirst), most: maxFirst}
}

// Send implements [Peer].
func (s *stream) Send(kind string, data any) error {
	line, err := encode(kind, data)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && s.waiting+len(line) > maxBacklog {
		s.err = errBacklog
		_ = s.conn.Close()
	}
	if s.err != nil {
		return s.err
	}
	s.queue = append(s.queue, line)
	s.waiting += len(line)
	if s.written == nil {
		s.written = make(chan struct{})
		go s.write()
	}
	return nil
}

// write runs as long as there is something to write.
func (s *stream) write() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 || s.err != nil {
			close(s.written)
			s.queue, s.written = nil, nil
			s.mu.Unlock()
			return
		}
		line := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		_ = s.conn.SetWriteDeadline(time.Now().Add(Silence))
		_, err := s.conn.Write(line)
		s.mu.Lock()
		s.waiting -= len(line)
		if err != nil && s.err == nil {
			s.err = err
			_ = s.conn.Close() // whoever receives learns of it
		}
		s.mu.Unlock()
	}
}

// Receive returns the next message, which must come soon.
func (s *stream) Receive() (Message, error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(Silence))
	var line []byte
	for {
		part, err := s.in.ReadSlice('\n')
		if line = append(line, part...); len(line) > s.most {
			return Message{}, errTooLarge
		}
		if err == nil {
			return decode(line)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return Message{}, s.why(err)
		}
	}
}

// why explains the end of what is received.
func (s *stream) why(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil && !errors.Is(s.err, net.ErrClosed):
		return s.err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSilent
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return errors.New("it has ended the connection")
	}
	return err
}

// Close implements [Peer].
func (s *stream) Close(why string) {
	_ = s.Send(kindGone, why)
	s.mu.Lock()
	written := s.written
	s.mu.Unlock()
	if written != nil {
		select {
		case <-written:
		case <-time.After(lastWords):
		}
	}
	s.mu.Lock()
	if s.err == nil {
		s.err = net.ErrClosed
	}
	s.mu.Unlock()
	_ = s.conn.Close()
}

// lastWords is how long the end of a link waits for what was sent.
const lastWords = time.Second
