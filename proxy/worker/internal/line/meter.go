package line

import (
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// meter counts the messages a client sends, holds them to its source's rate
// and bounds their length. It keeps no text: a line may come in any pieces.
//
// Over the rate, messages are throttled or rejected. Throttling lets the
// message that broke the rate pass and then stops reading until the source has
// paid for it: the average holds, nothing is lost, and since nobody was harmed
// it is no violation. Rejecting drops the message, answers it with an error
// and counts a violation. A batch or a long line that has begun can only be
// throttled: what it has over the rate is read later, whatever is done with
// single messages.
type meter struct {
	scanner mcp.Scanner
	length  uint32         // bytes of the line so far
	counted uint32         // messages of the line so far that were measured
	exempt  bool           // from the rate
	dropped *mcp.Inspector // the rejected line that is being dropped
}

// measured is what is to be done with a piece of input. What is behind consumed
// is to be measured next, or after wait.
type measured struct {
	forward  int // data[:forward] goes to the node
	consumed int
	messages int           // that end in forward
	wait     time.Duration // throttle: read on after this
	answer   []byte        // error lines for the client
	tooLong  bool          // a line is longer than allowed
	rejected bool          // a line was: a violation
}

// measure looks at input in order. It stops behind a line that has to be waited
// for, in front of a dropped line and behind it.
func (m *meter) measure(w *Frontend, source board.SlotID, data []byte, now int64) measured {
	if m.dropped != nil {
		return m.drop(w, source, data, now)
	}
	limits, tat := &w.Limits, w.Board.Sources().MessageRate(source)
	var v measured
	for v.consumed < len(data) {
		rest := data[v.consumed:]
		if blank := m.leadingBlank(rest); blank > 0 {
			rest = rest[:blank] // it may be all there is: no message has begun yet
		} else if limits.Reject && !m.exempt && !m.scanner.InLine() && rest[0] != '\n' {
			if _, ok := limits.Message.Charge(tat, now, 1, 0); !ok {
				m.dropped = w.takeInspector()
				if v.consumed == 0 {
					return m.drop(w, source, data, now)
				}
				v.forward = v.consumed
				return v
			}
		}
		n, messages, end := m.scanner.Step(rest)
		if !end {
			messages = max(0, m.scanner.Messages()-1) // the one under way comes to its end later
		}
		v.consumed += n
		first := m.counted == 0
		messages -= int(m.counted)
		m.counted += uint32(messages)
		v.messages += messages
		before := m.length
		if m.length += uint32(n); m.length > w.MaxMessage {
			v.tooLong = true
			break
		}
		due := messages + limits.Extra(int64(before), int64(m.length))
		if first && messages > 0 && limits.Reject {
			due-- // it was charged when the line began
		}
		if end {
			m.length, m.counted = 0, 0
		}
		if due > 0 && !m.exempt {
			v.wait = limits.Message.ChargeAnyway(tat, now, due)
			if v.wait > 0 && (!limits.Reject || !end) {
				break
			}
			v.wait = 0
		}
	}
	v.forward = v.consumed
	return v
}

// end measures what the client leaves without the end of a line, for the node may take it for one.
func (m *meter) end(w *Frontend, source board.SlotID, now int64) (messages int) {
	if m.dropped != nil {
		return 0
	}
	messages = m.scanner.End() - int(m.counted)
	due := messages
	if m.counted == 0 && w.Limits.Reject {
		due-- // the first was charged when the line began
	}
	if due > 0 && !m.exempt {
		w.Limits.Message.ChargeAnyway(w.Board.Sources().MessageRate(source), now, due)
	}
	return messages
}

// leadingBlank is the number of bytes before a line begins or ends, 0 within one.
func (m *meter) leadingBlank(p []byte) int {
	if m.scanner.InLine() {
		return 0
	}
	for i, c := range p {
		if c != ' ' && c != '\t' && c != '\r' {
			return i
		}
	}
	return len(p)
}

// drop reads the rejected line to its end and then answers it.
func (m *meter) drop(w *Frontend, source board.SlotID, data []byte, now int64) measured {
	n, _, end := m.dropped.Next(data)
	v := measured{consumed: n}
	if m.length += uint32(n); m.length > w.MaxMessage {
		v.tooLong = true
		return v
	}
	if !end {
		return v
	}
	wait, _ := w.Limits.Message.Charge(w.Board.Sources().MessageRate(source), now, 1, 0)
	w.Scratch = m.dropped.AppendErrors(w.Scratch[:0], mcp.CodeRateLimited, "rate limited", policy.RetryAfter(wait))
	v.answer = w.Scratch
	v.rejected = true
	w.putInspector(m.dropped)
	m.dropped, m.length = nil, 0
	return v
}

// takeInspector lends the worker's inspector; a client that stops in the middle
// of a dropped line may keep it for long, so there can be more than one.
func (w *Frontend) takeInspector() *mcp.Inspector {
	in := w.inspector
	w.inspector = nil
	if in == nil {
		return new(mcp.Inspector)
	}
	in.Reset()
	return in
}

func (w *Frontend) putInspector(in *mcp.Inspector) { w.inspector = in }
