// Package bus carries messages between the coordinator of a load test and its agents.
//
//	agent   Link ◀──────────────▶ Peer   coordinator
//
// Links to other machines go straight to the coordinator over TLS ([Listen], [Dial]) or through a NATS server that exists
// ([Serve], [Enter]). An agent of the coordinator's machine has the control stream that it was started with, and no port.
// All of them keep messages in order, and fall silent or end rather than lose one unnoticed.
package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Message is what travels.
type Message struct {
	Kind string          `json:"kind"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Peer is the other end of a link.
type Peer interface {
	// Send does not wait for the other end. An error says that the link is of no use any more.
	Send(kind string, data any) error
	// Close ends the link, after a moment for what was sent, and tells the other end why.
	Close(why string)
}

// Link is an agent's end. Receive is for one goroutine; its error says that the coordinator has gone.
type Link interface {
	Peer
	Receive() (Message, error)
}

// Events is what a coordinator is told. Calls about one peer come one after another, and the last one is Gone.
type Events struct {
	Message func(Peer, Message)
	Gone    func(Peer, error)
}

// Door is where agents of other machines join.
type Door interface {
	// Flags are those of the agent's command that lead here. There is no secret in them.
	Flags() string
	// Close ends all links.
	Close()
}

const (
	// patience bounds what takes no time.
	patience = 10 * time.Second
	// Silence is how long an end may say nothing before it is given up.
	Silence = 15 * time.Second
	// maxMessage holds the histograms of an agent.
	maxMessage = 8 << 20
	// maxFirst bounds what a stranger says.
	maxFirst = 4 << 10
	// maxBacklog is how many bytes may wait for an end that does not read.
	maxBacklog = 4 * maxMessage
)

var (
	errTooLarge = errors.New("a message is too large")
	errBacklog  = errors.New("it does not read what it is told")
	errSilent   = fmt.Errorf("not heard of for %s", Silence)
)

// encode returns a message as a line.
func encode(kind string, data any) ([]byte, error) {
	value, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(Message{kind, value})
	if err == nil && len(line) >= maxMessage {
		err = errTooLarge
	}
	return append(line, '\n'), err
}

// decode reads a message. That the other end has gone is an error.
func decode(line []byte) (m Message, err error) {
	if err = json.Unmarshal(line, &m); err != nil {
		return m, err
	}
	switch m.Kind {
	case "":
		return m, errors.New("a message of no kind")
	case kindGone:
		var why string
		if json.Unmarshal(m.Data, &why) != nil || why == "" {
			why = "it has ended the connection"
		}
		return m, &goneError{why}
	}
	return m, nil
}

// kindGone is the last message of an end, with the reason.
const kindGone = "gone"

// goneError is the reason.
type goneError struct{ why string }

func (e *goneError) Error() string { return e.why }
