package loadtest

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/mcp"
	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/probe"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

// ab, which cannot number its requests, is for servers without sessions: within a session no id may come twice.
func TestDriverOfEqualRequests(t *testing.T) {
	s := Spec{Connections: 1, Duration: time.Second, RequestTimeout: time.Second}
	for _, c := range []struct {
		who      probe.Introduction
		numbered bool
	}{
		{probe.Introduction{Era: mcp.StatelessEra, Question: ask.Discover}, false},
		{probe.Introduction{Era: mcp.SessionEra, Question: ask.Ping}, true},
	} {
		to, err := target.Parse("http://127.0.0.1:1/mcp")
		if err != nil {
			t.Fatal(err)
		}
		a := aim{to: target.Endpoint{Target: to, Address: netip.MustParseAddrPort("127.0.0.1:1")}, who: c.who, work: c.who.Work(), driver: DriverAB}
		var l closedLoop
		err = l.arrange(t.Context(), &s, &a) // also without ab, which may not be installed
		refused := err != nil && strings.Contains(err.Error(), "a number of its own")
		if refused != c.numbered || (l.job.Number != "") != c.numbered {
			t.Errorf("%s: number %q, %v", c.who.Era, l.job.Number, err)
		}
	}
}
