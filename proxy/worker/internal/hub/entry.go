package hub

import (
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// Who is let in, and what it costs to be over a rate: the limits decide, the worker keeps the accounts.

// MayEnter decides whether a newcomer is looked for a node at all, on whichever frontend it came. If so, it
// is held for wait first.
func (h *Hub) MayEnter(source board.SlotID, addr netip.Addr, exempt bool, now int64) (reason board.Reason, wait time.Duration, ok bool) {
	if !exempt {
		if reason, wait, ok = h.Permits(source, addr, now, h.Patience()); !ok {
			return reason, wait, false
		}
	}
	reason, forRoom, ok := h.HasRoom(source)
	if !ok {
		return reason, 0, false
	}
	return 0, max(wait, forRoom), true
}

// Patience is for how long a newcomer that is over the rate may be held. Those that are held take no more
// than a quarter of the worker's places: beyond it, many sources could lock out those that conform.
func (h *Hub) Patience() time.Duration {
	if h.Held >= h.Max/4 || h.Cell.Active.Load()+int64(h.Held) >= int64(h.Max) {
		return 0
	}
	return h.Limits.Patience
}

// newcomer is one more of a source.
func (h *Hub) newcomer(id board.SlotID) policy.Newcomer {
	s := h.Board.Sources()
	n := policy.Newcomer{BannedUntil: s.BannedUntil(id), Active: h.Board.Active(), Rate: s.ConnectionRate(id)}
	if h.Limits.BindsShares(n.Active) {
		n.Held = s.Held(id)
	}
	return n
}

// Permits decides whether a new connection of a source may enter, and after which wait. A source that is
// refused with ReasonRate or ReasonBan should stay away for wait.
func (h *Hub) Permits(id board.SlotID, addr netip.Addr, now int64, patience time.Duration) (reason board.Reason, wait time.Duration, ok bool) {
	n := h.newcomer(id)
	v := h.Limits.Permits(&n, now, patience)
	switch {
	case v.Reason == board.ReasonRate && v.Outcome == policy.Refused:
		h.Violation(id, addr, now, "connections")
	case v.Outcome == policy.Passes && v.Wait > 0:
		h.Throttled(v.Wait)
	}
	return v.Reason, v.Wait, v.Outcome == policy.Passes
}

// HasShare reports whether a source holds as many connections as one may.
func (h *Hub) HasShare(id board.SlotID) bool {
	n := h.newcomer(id)
	return h.Limits.HasShare(&n)
}

// IsOverShare reports whether a newcomer of a source is refused for that.
func (h *Hub) IsOverShare(id board.SlotID) bool {
	n := h.newcomer(id)
	return h.Limits.IsOverShare(&n)
}

// Throttled counts that somebody is held.
func (h *Hub) Throttled(wait time.Duration) {
	h.Cell.Throttles.Add(1)
	h.Cell.ThrottledNs.Add(uint64(wait))
}

// Rejected counts a message of a source that was answered for being over a rate, of what. addr is one of its addresses.
func (h *Hub) Rejected(id board.SlotID, addr netip.Addr, what string) {
	h.Cell.Rejects.Add(1)
	h.Violation(id, addr, h.Loop.Now(), what)
}

// Violation counts that a source was over a rate, of what. addr is one of its addresses. It may be banned for that.
func (h *Hub) Violation(id board.SlotID, addr netip.Addr, now int64, what string) {
	ban := &h.Limits.Ban
	if addr.IsValid() && h.Board.Sources().Violation(id, addr, now, ban.Window, ban.Violations, ban.For) {
		h.announce(board.SourceOf(addr), what)
	}
}

// announce logs that a source has been banned. Many may be at the same time, and the loop waits for
// the log.
func (h *Hub) announce(source netip.Prefix, what string) {
	h.unannounced++
	if now := h.Loop.Now(); h.announced == 0 || now-h.announced >= int64(ComplaintEvery) {
		h.Log.Warn("banned", "source", proxy.SourceText(source), "for", h.Limits.Ban.For, "others", h.unannounced-1,
			"why", "over the rate of "+what+" again and again", "lift", "erlmcp lb ban remove "+proxy.SourceText(source))
		h.announced, h.unannounced = now, 0
	}
}

// RefusalTo is what a client from source is told for a reason. Who is banned learns what that means, and
// whom to ask for what.
func (h *Hub) RefusalTo(source board.SlotID, reason board.Reason, wait time.Duration) policy.Refusal {
	r := policy.RefusalOf(reason, wait)
	if info := h.Board.Sources().Info(source); reason == board.ReasonBan && info.Source.IsValid() {
		until := mono.Time(h.Loop.Now() + int64(wait))
		r.Text = "banned until " + until.UTC().Format("15:04:05Z") + ": " + proxy.SourceText(info.Source) +
			" went on over the rate, or an operator has banned it; sessions and open connections are kept" +
			" (erlmcp lb ban list, erlmcp lb ban remove " + proxy.SourceText(info.Source) + ")"
	}
	return r
}
