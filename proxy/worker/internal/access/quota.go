package access

import (
	"net/netip"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// What is refused before any node was asked costs a stranger nothing, and must not fill the log: of such lines each source
// has a few a second and all together some more. Those that are left out are counted in a line at the
// end of the second, one for each frontend and reason.
const (
	refusalsPerSource = 20
	refusalsPerSecond = 200
	refusalBuckets    = 256 // sources that meet in one share its lines
)

// frontends have a number for what is counted of them.
var frontends = [...]string{FrontendTCP, FrontendHTTP, FrontendHTTPS}

// refusalQuota is a worker's for one second.
type refusalQuota struct {
	began    int64
	lines    int
	bySource [refusalBuckets]uint8
	omitted  [len(frontends)][board.Reasons]uint32
}

// isRefusal reports whether a line is of what no node was asked for. Who gives way has been let in before.
func (e *Entry) isRefusal() bool {
	return e.Node == "" && e.reason != noReason && e.reason != board.ReasonGaveWay
}

// takes reports whether the line of a refusal is to be written; if not, it is counted.
func (q *refusalQuota) takes(client netip.Addr, seed uint64, frontend string, reason board.Reason) bool {
	mine := &q.bySource[policy.Mix(policy.HashAddr(client)^seed)%refusalBuckets]
	if q.lines < refusalsPerSecond && *mine < refusalsPerSource {
		q.lines++
		*mine++
		return true
	}
	q.omitted[slices.Index(frontends[:], frontend)][reason]++
	return false
}

// tellOmitted writes what was left out, once a second, to the log, which is on.
func (a *Log) tellOmitted(now int64) {
	q := &a.quota
	if now-q.began < int64(time.Second) {
		return
	}
	for f := range q.omitted {
		for reason, n := range q.omitted[f] {
			if n == 0 {
				continue
			}
			e := Entry{began: q.began, reason: board.Reason(reason), omitted: n}
			if room := a.log.Line(); room != nil {
				a.log.Commit(e.Append(room, frontends[f], now))
			}
		}
	}
	*q = refusalQuota{began: now}
}
