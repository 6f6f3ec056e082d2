package node

import (
	"context"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// maxUnanswered is how many requests of a socket or stream, and how many bytes of them, may be under way before no more is
// taken.
const (
	maxUnanswered      = 128
	maxUnansweredBytes = 1 << 20
)

// backlog is what the client of a socket or stream has asked and what is still to be answered: it takes memory until the
// client has taken the answers.
type backlog struct {
	body *body // counts it

	mu         sync.Mutex
	reading    bool // a message is coming in
	unanswered int
	bytes      int           // of them
	answered   chan struct{} // closed when an answer is written
}

// isCall reports whether a message is to be answered; nil is none.
func isCall(message jsonrpc.Message) bool {
	request, ok := message.(*jsonrpc.Request)
	return ok && request.IsCall()
}

func newBacklog(b *body) *backlog { return &backlog{body: b, answered: make(chan struct{})} }

// begin says that a message comes in: what it takes is not given back before it is read.
func (q *backlog) begin() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reading = true
}

// asked counts a request of so many bytes, which was read.
func (q *backlog) asked(bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reading = false
	q.unanswered++
	q.bytes += bytes
}

// told is asked for what needs no answer.
func (q *backlog) told() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reading = false
	q.settleLocked()
}

// send has a message written, which may be an answer.
func (q *backlog) send(message jsonrpc.Message, write func(text []byte) error) error {
	if _, ok := message.(*jsonrpc.Response); ok {
		defer q.replied()
	}
	text, err := jsonrpc.EncodeMessage(message)
	if err != nil {
		return err
	}
	return write(text)
}

// replied counts an answer. What the requests take is given back when all are answered.
func (q *backlog) replied() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.unanswered--; q.unanswered <= 0 {
		q.unanswered, q.bytes = 0, 0
	}
	close(q.answered)
	q.answered = make(chan struct{})
	q.settleLocked()
}

// settleLocked gives back what messages have taken, unless some are still to be read or answered.
func (q *backlog) settleLocked() {
	if q.unanswered == 0 && !q.reading {
		q.body.giveBack()
	}
}

// waits waits until more may be asked. It returns what is still to be answered, in bytes.
func (q *backlog) waits(ctx context.Context) (unanswered int, err error) {
	for {
		q.mu.Lock()
		unanswered = q.bytes
		full, answered := q.unanswered >= maxUnanswered || q.bytes >= maxUnansweredBytes, q.answered
		q.mu.Unlock()
		if !full {
			return unanswered, nil
		}
		select {
		case <-answered:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
