package worker

import (
	"net/netip"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// Who is let in, and what it costs to be over a rate: the limits decide, the worker keeps the accounts.

// mayEnter decides whether a newcomer is looked for a node at all, on whichever frontend it came. If so, it
// is held for wait first.
func (w *worker) mayEnter(source board.SlotID, addr netip.Addr, exempt bool, now int64) (reason board.Reason, wait time.Duration, ok bool) {
	if !exempt {
		if reason, wait, ok = w.permits(source, addr, now, w.patience()); !ok {
			return reason, wait, false
		}
	}
	reason, forRoom, ok := w.hasRoom(source)
	if !ok {
		return reason, 0, false
	}
	return 0, max(wait, forRoom), true
}

// patience is for how long a newcomer that is over the rate may be held. Those that are held take no more
// than a quarter of the worker's places: beyond it, many sources could lock out those that conform.
func (w *worker) patience() time.Duration {
	if w.held >= w.max/4 || w.cell.Active.Load()+int64(w.held) >= int64(w.max) {
		return 0
	}
	return w.limits.Patience
}

// Newcomer is one more of a source.
func (w *worker) newcomer(id board.SlotID) policy.Newcomer {
	s := w.board.Sources()
	n := policy.Newcomer{BannedUntil: s.BannedUntil(id), Active: w.board.Active(), Rate: s.ConnectionRate(id)}
	if w.limits.BindsShares(n.Active) {
		n.Held = s.Held(id)
	}
	return n
}

// permits decides whether a new connection of a source may enter, and after which wait. A source that is
// refused with ReasonRate or ReasonBan should stay away for wait.
func (w *worker) permits(id board.SlotID, addr netip.Addr, now int64, patience time.Duration) (reason board.Reason, wait time.Duration, ok bool) {
	n := w.newcomer(id)
	v := w.limits.Permits(&n, now, patience)
	switch {
	case v.Reason == board.ReasonRate && v.Outcome == policy.Refused:
		w.violation(id, addr, now, "connections")
	case v.Outcome == policy.Passes && v.Wait > 0:
		w.throttled(v.Wait)
	}
	return v.Reason, v.Wait, v.Outcome == policy.Passes
}

// HasShare reports whether a source holds as many connections as one may.
func (w *worker) hasShare(id board.SlotID) bool {
	n := w.newcomer(id)
	return w.limits.HasShare(&n)
}

// IsOverShare reports whether a newcomer of a source is refused for that.
func (w *worker) isOverShare(id board.SlotID) bool {
	n := w.newcomer(id)
	return w.limits.IsOverShare(&n)
}

// throttled counts that somebody is held.
func (w *worker) throttled(wait time.Duration) {
	w.cell.Throttles.Add(1)
	w.cell.ThrottledNs.Add(uint64(wait))
}

// rejected counts a message of a source that was answered for being over a rate, of what. addr is one of its addresses.
func (w *worker) rejected(id board.SlotID, addr netip.Addr, what string) {
	w.cell.Rejects.Add(1)
	w.violation(id, addr, w.loop.Now(), what)
}

// violation counts that a source was over a rate, of what. addr is one of its addresses. It may be banned for that.
func (w *worker) violation(id board.SlotID, addr netip.Addr, now int64, what string) {
	ban := &w.limits.Ban
	if addr.IsValid() && w.board.Sources().Violation(id, addr, now, ban.Window, ban.Violations, ban.For) {
		w.announce(board.SourceOf(addr), what)
	}
}

// announce logs that a source has been banned. Many may be at the same time, and the loop waits for
// the log.
func (w *worker) announce(source netip.Prefix, what string) {
	w.unannounced++
	if now := w.loop.Now(); w.announced == 0 || now-w.announced >= int64(complaintEvery) {
		w.log.Warn("banned", "source", proxy.SourceText(source), "for", w.limits.Ban.For, "others", w.unannounced-1,
			"why", "over the rate of "+what+" again and again", "lift", "erlmcp lb ban remove "+proxy.SourceText(source))
		w.announced, w.unannounced = now, 0
	}
}
