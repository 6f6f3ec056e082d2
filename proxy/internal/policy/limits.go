// Package policy decides: who may come in, at what rate, to which node, and what they are told who may not. Its decisions
// are values; it knows no socket, no worker and no master.
package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// Limits is Spec.Limits, ready for use.
type Limits struct {
	Exempt     []netip.Prefix
	Trusted    []netip.Prefix // whose PROXY header is believed
	Proxies    []netip.Prefix // of whom is believed, over HTTP, whose requests they pass on
	Connection Rate
	Message    Rate
	Tools      []ToolLimit
	Requests   proxy.Action // with a request over the message rate
	Reject     bool         // messages over the rate, instead of throttling
	mostExtra  int          // messages that the length of one counts as besides
	perSource  int          // connections of one source; 0 is no limit
	MaxSaid    bool         // by max_per_source, and not by the share
	most       int64        // clients
	Ban        proxy.Ban
	Patience   time.Duration // for how long what is over a rate may be held
}

// MaxHeldTime is for how long a connection, or a request over HTTP, is held that is over the rate: of a
// source no more than that much of its rate, which the table of sources counts for all workers. Clients
// that open a connection for each of their calls have more patience than that with a handshake.
const MaxHeldTime = 5 * time.Second

// NewLimits returns the limits of a valid Spec.
func NewLimits(s *proxy.Spec) Limits {
	l := Limits{
		Exempt:     Prefixes(slices.Concat(s.Limits.Exempt, s.TrustedProxies)),
		Trusted:    Prefixes(s.ProxyProtocol.AcceptFrom),
		Proxies:    Prefixes(s.TrustedProxies),
		Connection: PerSecond(s.Limits.ConnectionsPerSecond),
		Message:    PerSecond(s.Limits.MessagesPerSecond),
		Tools:      newToolLimits(s.Limits.Tools),
		Requests:   cmp.Or(s.Limits.Action, proxy.ActionHold),
		Reject:     s.Limits.Action == proxy.ActionReject,
		perSource:  s.PerSource(),
		MaxSaid:    s.Limits.MaxPerSource > 0,
		most:       int64(s.MaxConnections),
		Ban:        s.Limits.Ban,
		Patience:   MaxHeldTime,
	}
	if most := l.Patience; !l.Message.Unlimited() {
		if l.Reject {
			most = time.Duration(l.Message.Burst)
		}
		l.mostExtra = int(int64(most) / l.Message.Interval)
	}
	return l
}

// Prefixes parses addresses and prefixes that Validate has accepted.
func Prefixes(texts []string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		if p, err := proxy.ParsePrefix(text); err == nil { // Validate has refused others
			list = append(list, p)
		}
	}
	return list
}

// Contains reports whether an address is in one of the prefixes.
func Contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Ruling is what becomes of somebody who asks to be served.
type Ruling struct {
	Outcome Outcome
	Reason  board.Reason // of a refusal
	// Wait is for how long one who may pass is held first, when one who comes again does so, and for how long one
	// who is refused should stay away.
	Wait time.Duration
}

// Outcome is whether somebody is served.
type Outcome uint8

// The outcomes.
const (
	Passes  Outcome = iota // and was charged
	Returns                // to ask again: nothing was charged
	Refused
)

// Newcomer is who wants to come in: a connection, or a request that counts as one.
type Newcomer struct {
	BannedUntil int64
	Held        int           // connections of its source, where HasShare has to know
	Active      int64         // of all sources
	Rate        *atomic.Int64 // its tat of connections
}

// Permits decides whether a newcomer may enter, as far as its source is concerned.
func (l *Limits) Permits(n *Newcomer, now int64, patience time.Duration) Ruling {
	switch {
	case n.BannedUntil > now:
		return Ruling{Refused, board.ReasonBan, time.Duration(n.BannedUntil - now)}
	case l.IsOverShare(n):
		return Ruling{Refused, board.ReasonPerSource, 0}
	}
	wait, ok := l.Connection.Charge(n.Rate, now, 1, patience)
	if !ok {
		return Ruling{Refused, board.ReasonRate, wait}
	}
	return Ruling{Wait: wait}
}

// BindsShares reports whether it matters how many connections a source holds, of so many in all.
func (l *Limits) BindsShares(active int64) bool {
	return l.perSource > 0 && (l.MaxSaid || active >= int64(l.perSource))
}

// HasShare reports whether the source holds as many connections as one may.
func (l *Limits) HasShare(n *Newcomer) bool { return l.BindsShares(n.Active) && n.Held >= l.perSource }

// IsOverShare reports whether a newcomer is refused for that. Where the balancer is full, what a share is of is
// gone, and who gives way is another question.
func (l *Limits) IsOverShare(n *Newcomer) bool {
	return l.HasShare(n) && (l.MaxSaid || !l.Full(n.Active))
}

// Full reports whether all places of the balancer are taken.
func (l *Limits) Full(active int64) bool { return active >= l.most }

// Overbooked reports that no more may be asked to give way: so many are there while those who were do so.
func (l *Limits) Overbooked(active int64) bool { return active >= l.most+max(l.most/100, 8) }

// GivesWay reports whether a source that holds most gives way to one that holds so many: not if that would then hold
// as much itself.
func GivesWay(most, held int) bool { return most > held+1 }

// messagePatience is for how long a request may be held.
func (l *Limits) messagePatience() time.Duration {
	if l.Reject {
		return 0
	}
	return l.Patience
}

// Request decides about a request of one message.
func (l *Limits) Request(tat *atomic.Int64, now int64) Ruling {
	switch wait, ok := l.Message.Charge(tat, now, 1, l.messagePatience()); {
	case ok:
		return Ruling{Wait: wait}
	case l.Requests == proxy.ActionThrottle:
		return Ruling{Outcome: Returns, Wait: wait}
	default:
		return Ruling{Refused, board.ReasonMessageRate, wait}
	}
}

// Batch charges for more messages of a body, the first ones or others. They are refused if the source owes much already,
// or comes to owe as much as can be kept account of.
func (l *Limits) Batch(tat *atomic.Int64, now int64, more int, first bool) Refusal {
	if first && l.Requests != proxy.ActionThrottle {
		patience := time.Duration(int64(more)*l.Message.Interval) + l.messagePatience()
		if wait, ok := l.Message.Charge(tat, now, more, patience); !ok {
			return RefusalOf(board.ReasonMessageRate, wait)
		}
	} else if wait := l.Message.ChargeAnyway(tat, now, more); wait >= board.MaxDebt {
		return RefusalOf(board.ReasonMessageRate, wait).Because("more messages in batches than may come in a minute")
	}
	return Refusal{}
}

// ExtraLength is how long a message may be for each that it counts as besides itself: what is long takes a server as long as
// many that are short.
const ExtraLength = 16 << 10

// Extra is for how many more messages a source is charged when one has grown in bytes: together no more than may be held, or
// come at once, so that nobody who sends a long one has to wait longer for it than others may.
func (l *Limits) Extra(before, now int64) int {
	return l.extras(now) - l.extras(before)
}

func (l *Limits) extras(length int64) int { return int(min(length/ExtraLength, int64(l.mostExtra))) }
