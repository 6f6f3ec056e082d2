package master

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// bans lists the banned sources, the one that is free first at the top.
func (m *master) bans() []proxy.BanStatus { return m.FirstBans(m.board.Sources().Capacity()) }

// FirstBans lists those of the banned sources that are free first, at most limit of them.
func (m *master) FirstBans(limit int) []proxy.BanStatus {
	list := []proxy.BanStatus{}
	for _, info := range m.board.Sources().Banned(mono.Now()) {
		list = append(list, proxy.BanStatus{Source: proxy.SourceText(info.Source), Until: mono.Time(info.BannedUntil), Connections: info.Live})
		if len(list) >= 2*limit {
			list = sortBans(list)[:limit]
		}
	}
	return sortBans(list)[:min(len(list), limit)]
}

func sortBans(list []proxy.BanStatus) []proxy.BanStatus {
	slices.SortFunc(list, func(a, b proxy.BanStatus) int {
		return cmp.Or(a.Until.Compare(b.Until), strings.Compare(a.Source, b.Source))
	})
	return list
}

// ban shuts a source out; 0 is as long as for violations. A longer ban stays.
func (m *master) ban(source netip.Prefix, long time.Duration) (proxy.BanStatus, error) {
	spec := m.inForce.Load().spec
	if long == 0 {
		long = spec.Limits.Ban.For
	}
	if long < 0 || long > proxy.MaxDuration {
		return proxy.BanStatus{}, conflict("duration", "a ban must last from 0 to %v, not %v", proxy.MaxDuration, long)
	}
	if policy.Contains(policy.Prefixes(spec.Limits.Exempt), source.Addr()) {
		return proxy.BanStatus{}, conflict("exempt", "%s is exempt from bans (lb.limits.exempt)", proxy.SourceText(source))
	}
	if policy.Contains(policy.Prefixes(spec.TrustedProxies), source.Addr()) {
		return proxy.BanStatus{}, conflict("exempt", "%s is exempt from bans (lb.trusted_proxies)", proxy.SourceText(source))
	}
	now := mono.Now()
	sources := m.board.Sources()
	id := sources.BanSource(source.Addr(), now+int64(long), now)
	m.log.Info("banned by order", "source", proxy.SourceText(source), "for", long)
	return proxy.BanStatus{Source: proxy.SourceText(source), Until: mono.Time(sources.BannedUntil(id)), Connections: sources.Live(id)}, nil
}

// Unban lifts a ban.
func (m *master) Unban(source netip.Prefix) error {
	sources := m.board.Sources()
	id, ok := sources.Lookup(source.Addr())
	if !ok || sources.BannedUntil(id) <= mono.Now() {
		return conflict("not_banned", "%s is not banned", proxy.SourceText(source))
	}
	sources.Unban(id)
	m.log.Info("unbanned by order", "source", proxy.SourceText(source))
	return nil
}

// conflict is the answer to a command that makes sense but cannot be carried out.
func conflict(code, format string, args ...any) error {
	return &control.Error{Status: http.StatusConflict, Code: code, Message: fmt.Sprintf(format, args...)}
}
