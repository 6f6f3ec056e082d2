package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
)

// Event says that a node's state, or the reason for it, has changed.
type Event struct {
	Sequence uint64    `json:"seq"` // 1, 2, 3 … in the life of a supervisor
	Time     time.Time `json:"time"`
	Node     string    `json:"node"`
	From     State     `json:"from,omitempty"` // the state before; "" when the node is new
	State    State     `json:"state"`          // "" when the node was removed
	Reason   string    `json:"reason,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Restarts int       `json:"restarts"`
}

// keptEvents is how many events a supervisor remembers.
const keptEvents = 1000

// history is the latest events.
type history struct {
	events []Event // the oldest first
	last   uint64  // sequence number of the newest
}

func (h *history) add(e Event) {
	h.last++
	e.Sequence = h.last
	if len(h.events) == keptEvents {
		h.events = append(h.events[:0], h.events[1:]...)
	}
	h.events = append(h.events, e)
}

// since returns copies of the events after that one, as far as they are remembered.
func (h *history) since(sequence uint64) []Event {
	fresh := min(h.last-min(sequence, h.last), uint64(len(h.events)))
	return append([]Event(nil), h.events[uint64(len(h.events))-fresh:]...)
}

// serveEvents sends what has happened, and with ?follow=true what happens.
func (s *supervisor) serveEvents(w http.ResponseWriter, r *http.Request) {
	follow := r.URL.Query().Get("follow") == "true"
	send := control.Lines(w)
	var seen uint64
	for {
		events, changed := s.register.eventsSince(seen)
		for _, e := range events {
			if send(e) != nil {
				return
			}
			seen = e.Sequence
		}
		if !follow {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// Events calls each with what has happened to the nodes, as far as the supervisor remembers, the oldest
// first, and with follow with what happens, until ctx ends or the supervisor does.
func (c *Client) Events(ctx context.Context, follow bool, each func(Event) error) error {
	return c.control.Stream(ctx, fmt.Sprintf("/v1/events?follow=%t", follow), func(line json.RawMessage) error {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("events of the cluster: %w", err)
		}
		return each(e)
	})
}
