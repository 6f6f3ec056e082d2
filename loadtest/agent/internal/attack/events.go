package attack

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
)

// readers are for event streams while they are read.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

// replyOf reads an event stream up to the first message that is no request or notification of the server. Of these it tells.
func replyOf(stream io.Reader, tell func(message []byte)) ([]byte, error) {
	r := readers.Get().(*bufio.Reader)
	r.Reset(stream)
	defer func() {
		r.Reset(nil)
		readers.Put(r)
	}()
	for {
		message, err := nextEvent(r)
		if err != nil {
			return nil, err
		}
		if mcp.TopMethod(message) == nil {
			return message, nil
		}
		tell(message)
	}
}

// nextEvent reads the data of the next event that has some, at most ask.MaxReply of it. An event counts once its empty line
// has come.
func nextEvent(r *bufio.Reader) ([]byte, error) {
	var data []byte
	some := false
	for {
		line, err := nextLine(r)
		switch {
		case errors.Is(err, io.EOF):
			return nil, errNoReply
		case err != nil:
			return nil, err
		case len(line) > 0:
			value, ok := bytes.CutPrefix(line, []byte("data:"))
			if !ok {
				continue
			}
			if some {
				data = append(data, '\n')
			}
			some = true
			if data = append(data, bytes.TrimPrefix(value, []byte{' '})...); len(data) > ask.MaxReply {
				return nil, errTooLong
			}
		case len(data) > 0:
			return data, nil
		default:
			some = false
		}
	}
}

// nextLine reads a line, without its end.
func nextLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'}), err
	}
	long := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(long) > ask.MaxReply+len("data: \r\n") {
			return nil, errTooLong
		}
		line, err = r.ReadSlice('\n')
		long = append(long, line...)
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(long, []byte{'\n'}), []byte{'\r'}), err
}
