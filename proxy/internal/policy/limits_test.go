package policy

import (
	"sync/atomic"
	"testing"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// Who has sent a message of any length waits for the next request no longer than others do, and is not refused.
func TestWhoSendsALongMessageIsNotRefused(t *testing.T) {
	for _, action := range []proxy.Action{proxy.ActionDefault, proxy.ActionReject} {
		l := NewLimits(&proxy.Spec{Limits: proxy.Limits{MessagesPerSecond: 100, Action: action}})
		tat := new(atomic.Int64)
		now := mono.Now()
		extra := l.Extra(0, 1<<40)
		board.ChargeAnyway(tat, now, l.Message.Interval, l.Message.Burst, int64(1+extra))
		patience := l.Patience
		if l.Reject {
			patience = 0
			now += l.Message.Interval // nothing is at once behind what has taken all that may be
		}
		if ok, wait := board.ChargeAhead(tat, now+l.Message.Interval, l.Message.Interval, l.Message.Burst, 1, patience); !ok || extra == 0 {
			t.Errorf("%q: %d besides; the next would have to wait %v", action, extra, wait)
		}
	}
	if l := NewLimits(&proxy.Spec{}); l.Extra(0, 1<<40) != 0 {
		t.Error("charged without a rate")
	}
}
