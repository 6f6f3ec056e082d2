package proxy

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// limits is Spec.Limits, ready for use.
type limits struct {
	exempt     []netip.Prefix
	trusted    []netip.Prefix // whose PROXY header is believed
	proxies    []netip.Prefix // of whom is believed, over HTTP, whose requests they pass on
	connection rate
	message    rate
	tools      []toolLimit
	reject     bool // messages over the rate, instead of throttling
	mostExtra  int  // messages that the length of one counts as besides
	perSource  int  // connections of one source; 0 is no limit
	maxSaid    bool // by max_per_source, and not by the share
	ban        Ban
	patience   time.Duration // for how long what is over a rate may be held
}

// maxHeldTime is for how long a connection, or a request over HTTP, is held that is over the rate: of a
// source no more than that much of its rate, which the table of sources counts for all workers. Clients
// that open a connection for each of their calls have more patience than that with a handshake.
const maxHeldTime = 5 * time.Second

// rate is a limit in GCRA terms; the zero rate does not limit.
type rate struct{ interval, burst int64 }

// burstWindow is how much may come at once after a rest.
const burstWindow = int64(time.Second)

func perSecond(n int) rate {
	if n <= 0 {
		return rate{}
	}
	return rate{interval: int64(time.Second) / int64(n), burst: burstWindow}
}

func (r rate) unlimited() bool { return r.interval == 0 }

func newLimits(s *Spec) limits {
	l := limits{
		exempt:     prefixes(slices.Concat(s.Limits.Exempt, s.TrustedProxies)),
		trusted:    prefixes(s.ProxyProtocol.AcceptFrom),
		proxies:    prefixes(s.TrustedProxies),
		connection: perSecond(s.Limits.ConnectionsPerSecond),
		message:    perSecond(s.Limits.MessagesPerSecond),
		tools:      newToolLimits(s.Limits.Tools),
		reject:     s.Limits.Action == ActionReject,
		perSource:  s.PerSource(),
		maxSaid:    s.Limits.MaxPerSource > 0,
		ban:        s.Limits.Ban,
		patience:   maxHeldTime,
	}
	if most := l.patience; !l.message.unlimited() {
		if l.reject {
			most = time.Duration(l.message.burst)
		}
		l.mostExtra = int(int64(most) / l.message.interval)
	}
	return l
}

// extraLength is how long a message may be for each that it counts as besides itself: what is long takes a server as long as
// many that are short.
const extraLength = 16 << 10

// extra is for how many more messages a source is charged when one has grown in bytes: together no more than may be held, or
// come at once, so that nobody who sends a long one has to wait longer for it than others may.
func (l *limits) extra(before, now int64) int {
	return l.extras(now) - l.extras(before)
}

func (l *limits) extras(length int64) int { return int(min(length/extraLength, int64(l.mostExtra))) }

// atOnce is how many conform at once after a rest.
func (r rate) atOnce() int {
	if r.unlimited() {
		return math.MaxInt
	}
	return int(r.burst / r.interval)
}

// prefixes parses addresses and prefixes that Validate has accepted.
func prefixes(texts []string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		if p, err := ParsePrefix(text); err == nil { // Validate has refused others
			list = append(list, p)
		}
	}
	return list
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

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
	return w.limits.patience
}

// permits decides whether a new connection of a source may enter, and after which wait. A source that is
// refused with ReasonRate or ReasonBan should stay away for wait.
func (w *worker) permits(id board.SlotID, addr netip.Addr, now int64, patience time.Duration) (reason board.Reason, wait time.Duration, ok bool) {
	s, l := w.board.Sources(), &w.limits
	if until := s.BannedUntil(id); until > now {
		return board.ReasonBan, time.Duration(until - now), false
	}
	if w.isOverShare(id) {
		return board.ReasonPerSource, 0, false
	}
	if l.connection.unlimited() {
		return 0, 0, true
	}
	if ok, wait = board.ChargeAhead(s.ConnectionRate(id), now, l.connection.interval, l.connection.burst, 1, patience); !ok {
		w.violation(id, addr, now, "connections")
		return board.ReasonRate, wait, false
	}
	if wait > 0 {
		w.cell.Throttles.Add(1)
		w.cell.ThrottledNs.Add(uint64(wait))
	}
	return 0, wait, true
}

// hasShare reports whether a source holds as many connections as one may.
func (w *worker) hasShare(id board.SlotID) bool {
	limit := w.limits.perSource
	return limit > 0 && (w.limits.maxSaid || w.board.Active() >= int64(limit)) && w.board.Sources().Held(id) >= limit
}

// isOverShare reports whether a newcomer of a source is refused for that. Where the balancer is full, what a share is of is
// gone, and who gives way is another question.
func (w *worker) isOverShare(id board.SlotID) bool {
	return w.hasShare(id) && (w.limits.maxSaid || !w.full())
}

// full reports whether all places of the balancer are taken.
func (w *worker) full() bool { return w.board.Active() >= int64(w.spec.MaxConnections) }

// violation counts that a source was over a rate, of what. addr is one of its addresses. It may be banned for that.
func (w *worker) violation(id board.SlotID, addr netip.Addr, now int64, what string) {
	ban := &w.limits.ban
	if w.board.Sources().Violation(id, addr, now, ban.Window, ban.Violations, ban.For) {
		w.announce(board.SourceOf(addr), what)
	}
}

// announce logs that a source has been banned. Many may be at the same time, and the loop waits for
// the log.
func (w *worker) announce(source netip.Prefix, what string) {
	w.unannounced++
	if now := w.loop.Now(); w.announced == 0 || now-w.announced >= int64(complaintEvery) {
		w.log.Warn("banned", "source", sourceText(source), "for", w.limits.ban.For, "others", w.unannounced-1,
			"why", "over the rate of "+what+" again and again", "lift", "erlmcp lb ban remove "+sourceText(source))
		w.announced, w.unannounced = now, 0
	}
}

// hashAddr hashes an address the same way in every process and version, for
// rendezvous.
func hashAddr(a netip.Addr) uint64 {
	b := a.Unmap().As16()
	return mix(binary.BigEndian.Uint64(b[:8])) ^ mix(binary.BigEndian.Uint64(b[8:])+1)
}
