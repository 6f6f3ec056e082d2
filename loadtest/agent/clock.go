package agent

import (
	"math"

	"github.com/nats-io/nats.go"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// clockRounds is how often an agent asks for the time; the quickest answer is the most exact.
const clockRounds = 8

// clockOffset is what to add to this machine's monotonic clock to get the coordinator's, exact to
// half a round trip. Processes of one machine share the clock, so an offset within the error is 0.
func clockOffset(conn *nats.Conn) (int64, error) {
	var offset int64
	best := int64(math.MaxInt64)
	for range clockRounds {
		var r wire.Clock
		sent := mono.Now()
		if err := wire.Request(conn, wire.SubjectClock, nil, &r); err != nil {
			return 0, err
		}
		received := mono.Now()
		if trip := received - sent; trip < best {
			best, offset = trip, r.Now-(sent+trip/2)
		}
	}
	if offset <= best && offset >= -best {
		return 0, nil
	}
	return offset, nil
}
