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
	perSource  int
	ban        Ban
}

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
	return limits{
		exempt:     prefixes(slices.Concat(s.Limits.Exempt, s.TrustedProxies)),
		trusted:    prefixes(s.ProxyProtocol.AcceptFrom),
		proxies:    prefixes(s.TrustedProxies),
		connection: perSecond(s.Limits.ConnectionsPerSecond),
		message:    perSecond(s.Limits.MessagesPerSecond),
		tools:      newToolLimits(s.Limits.Tools),
		reject:     s.Limits.Action == ActionReject,
		perSource:  s.Limits.MaxPerSource,
		ban:        s.Limits.Ban,
	}
}

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

// mayEnter decides whether a newcomer is looked for a node at all, on whichever frontend it came.
func (w *worker) mayEnter(source board.SlotID, exempt bool, now int64) (reason board.Reason, wait time.Duration, ok bool) {
	if !exempt {
		if reason, wait, ok = w.limits.admit(w.board.Sources(), source, now); !ok {
			return reason, wait, false
		}
	}
	switch {
	case w.cell.Active.Load() >= int64(w.max):
		return board.ReasonWorkerFull, 0, false
	case w.board.Active() >= int64(w.spec.MaxConnections):
		return board.ReasonFull, 0, false
	}
	return 0, 0, true
}

// admit decides whether a new connection of a source may enter. wait is how
// long the source should stay away when the reason is ReasonRate or ReasonBan.
func (l *limits) admit(s *board.Sources, id board.SlotID, now int64) (reason board.Reason, wait time.Duration, ok bool) {
	if until := s.BannedUntil(id); until > now {
		return board.ReasonBan, time.Duration(until - now), false
	}
	if l.perSource > 0 && s.Live(id) >= l.perSource {
		return board.ReasonPerSource, 0, false
	}
	if l.connection.unlimited() {
		return 0, 0, true
	}
	if ok, wait := board.Charge(s.ConnectionRate(id), now, l.connection.interval, l.connection.burst, 1); !ok {
		l.violation(s, id, now)
		return board.ReasonRate, wait, false
	}
	return 0, 0, true
}

func (l *limits) violation(s *board.Sources, id board.SlotID, now int64) {
	s.Violation(id, now, l.ban.Window, l.ban.Violations, l.ban.For)
}

// hashAddr hashes an address the same way in every process and version, for
// rendezvous.
func hashAddr(a netip.Addr) uint64 {
	b := a.Unmap().As16()
	return mix(binary.BigEndian.Uint64(b[:8])) ^ mix(binary.BigEndian.Uint64(b[8:])+1)
}
