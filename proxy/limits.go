package proxy

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
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
	requests   Action // with a request over the message rate
	reject     bool   // messages over the rate, instead of throttling
	mostExtra  int    // messages that the length of one counts as besides
	perSource  int    // connections of one source; 0 is no limit
	maxSaid    bool   // by max_per_source, and not by the share
	most       int64  // clients
	ban        Ban
	patience   time.Duration // for how long what is over a rate may be held
}

// maxHeldTime is for how long a connection, or a request over HTTP, is held that is over the rate: of a
// source no more than that much of its rate, which the table of sources counts for all workers. Clients
// that open a connection for each of their calls have more patience than that with a handshake.
const maxHeldTime = 5 * time.Second

func newLimits(s *Spec) limits {
	l := limits{
		exempt:     prefixes(slices.Concat(s.Limits.Exempt, s.TrustedProxies)),
		trusted:    prefixes(s.ProxyProtocol.AcceptFrom),
		proxies:    prefixes(s.TrustedProxies),
		connection: perSecond(s.Limits.ConnectionsPerSecond),
		message:    perSecond(s.Limits.MessagesPerSecond),
		tools:      newToolLimits(s.Limits.Tools),
		requests:   cmp.Or(s.Limits.Action, ActionHold),
		reject:     s.Limits.Action == ActionReject,
		perSource:  s.PerSource(),
		maxSaid:    s.Limits.MaxPerSource > 0,
		most:       int64(s.MaxConnections),
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

// ruling is what becomes of somebody who asks to be served.
type ruling struct {
	outcome outcome
	reason  board.Reason // of a refusal
	// wait is for how long one who may pass is held first, when one who comes again does so, and for how long one
	// who is refused should stay away.
	wait time.Duration
}

type outcome uint8

const (
	passes  outcome = iota // and was charged
	returns                // to ask again: nothing was charged
	refused
)

// newcomer is who wants to come in: a connection, or a request that counts as one.
type newcomer struct {
	bannedUntil int64
	held        int           // connections of its source, where hasShare has to know
	active      int64         // of all sources
	rate        *atomic.Int64 // its tat of connections
}

// permits decides whether a newcomer may enter, as far as its source is concerned.
func (l *limits) permits(n *newcomer, now int64, patience time.Duration) ruling {
	switch {
	case n.bannedUntil > now:
		return ruling{refused, board.ReasonBan, time.Duration(n.bannedUntil - now)}
	case l.isOverShare(n):
		return ruling{refused, board.ReasonPerSource, 0}
	}
	wait, ok := l.connection.charge(n.rate, now, 1, patience)
	if !ok {
		return ruling{refused, board.ReasonRate, wait}
	}
	return ruling{wait: wait}
}

// bindsShares reports whether it matters how many connections a source holds, of so many in all.
func (l *limits) bindsShares(active int64) bool {
	return l.perSource > 0 && (l.maxSaid || active >= int64(l.perSource))
}

// hasShare reports whether the source holds as many connections as one may.
func (l *limits) hasShare(n *newcomer) bool { return l.bindsShares(n.active) && n.held >= l.perSource }

// isOverShare reports whether a newcomer is refused for that. Where the balancer is full, what a share is of is
// gone, and who gives way is another question.
func (l *limits) isOverShare(n *newcomer) bool {
	return l.hasShare(n) && (l.maxSaid || !l.full(n.active))
}

// full reports whether all places of the balancer are taken.
func (l *limits) full(active int64) bool { return active >= l.most }

// overbooked reports that no more may be asked to give way: so many are there while those who were do so.
func (l *limits) overbooked(active int64) bool { return active >= l.most+max(l.most/100, 8) }

// givesWay reports whether a source that holds most gives way to one that holds so many: not if that would then hold
// as much itself.
func givesWay(most, held int) bool { return most > held+1 }

// messagePatience is for how long a request may be held.
func (l *limits) messagePatience() time.Duration {
	if l.reject {
		return 0
	}
	return l.patience
}

// request decides about a request of one message.
func (l *limits) request(tat *atomic.Int64, now int64) ruling {
	switch wait, ok := l.message.charge(tat, now, 1, l.messagePatience()); {
	case ok:
		return ruling{wait: wait}
	case l.requests == ActionThrottle:
		return ruling{outcome: returns, wait: wait}
	default:
		return ruling{refused, board.ReasonMessageRate, wait}
	}
}

// batch charges for more messages of a body, the first ones or others. They are refused if the source owes much already,
// or comes to owe as much as can be kept account of.
func (l *limits) batch(tat *atomic.Int64, now int64, more int, first bool) refusal {
	if first && l.requests != ActionThrottle {
		patience := time.Duration(int64(more)*l.message.interval) + l.messagePatience()
		if wait, ok := l.message.charge(tat, now, more, patience); !ok {
			return refusalOf(board.ReasonMessageRate, wait)
		}
	} else if wait := l.message.chargeAnyway(tat, now, more); wait >= board.MaxDebt {
		return refusalOf(board.ReasonMessageRate, wait).because("more messages in batches than may come in a minute")
	}
	return refusal{}
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
