package prefork

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
)

// Message is one line of a control stream.
type Message struct {
	Kind string          `json:"kind"`
	Data json.RawMessage `json:"data,omitempty"`
}

// maxBytes bounds one message, and together what waits for a peer that does not read.
const maxBytes = 64 << 20

var errTooLarge = fmt.Errorf("control message over %d bytes", maxBytes)

// encode returns the line of a message. Data nil is left out.
func encode(kind string, data any) ([]byte, error) {
	if kind == "" {
		return nil, errors.New("control message without a kind")
	}
	line, err := json.Marshal(struct {
		Kind string `json:"kind"`
		Data any    `json:"data,omitempty"`
	}{kind, data})
	if err != nil {
		return nil, fmt.Errorf("encode control message %q: %w", kind, err)
	}
	if len(line) >= maxBytes {
		return nil, errTooLarge
	}
	return append(line, '\n'), nil
}

// decode reads one message. Its memory is the caller's: an idle stream keeps no large buffer.
func decode(r *bufio.Reader) (Message, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxBytes {
			return Message{}, errTooLarge
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return Message{}, err // a torn last line is dropped: its writer died
		}
	}
	var m Message
	if err := json.Unmarshal(line, &m); err != nil {
		return Message{}, &malformedError{err}
	}
	if m.Kind == "" {
		return Message{}, &malformedError{errors.New("no kind")}
	}
	return m, nil
}

// malformedError: the peer is alive but does not speak the protocol.
type malformedError struct{ err error }

func (e *malformedError) Error() string { return "malformed control message: " + e.err.Error() }
func (e *malformedError) Unwrap() error { return e.err }
