package protocol

import "time"

// A Later keeps the replies of one connection that are not due yet.
type Later interface {
	// Defer keeps a reply. It returns false when it keeps too many already. The slices are valid during
	// the call only.
	Defer(d Deferred) bool
	// Cancel forgets the reply to the request id, if it is kept: the client no longer wants it.
	Cancel(id []byte)
}

// Deferred is a reply that is not due yet.
type Deferred struct {
	ID    []byte        // of the request, raw JSON
	Reply []byte        // without the newline
	After time.Duration // when it is due
	Batch *Batch        // where it goes then; nil: to the client, as a line
}

// A Batch gathers the replies to a batch some of whose calls take their time.
type Batch struct {
	replies []byte // separated by commas
	waiting int
}

// Settle takes a deferred reply that has become due, or nil for one that was cancelled. When it was the
// last, it returns the line to send, if there is any reply at all.
func (b *Batch) Settle(reply []byte) (line []byte) {
	if len(reply) > 0 {
		if len(b.replies) > 0 {
			b.replies = append(b.replies, ',')
		}
		b.replies = append(b.replies, reply...)
	}
	if b.waiting--; b.waiting > 0 || len(b.replies) == 0 {
		return nil
	}
	line = append(make([]byte, 0, len(b.replies)+3), '[')
	line = append(line, b.replies...)
	return append(line, "]\n"...)
}
