package wire

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/loadtest/internal/ask"
	"github.com/erlmcp/erlmcp/loadtest/internal/latency"
	"github.com/erlmcp/erlmcp/loadtest/internal/sources"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/internal/work"
)

// What travels is read by agents of other machines: with another form, ProtocolVersion has to be another one.
func TestFormOfVersion4(t *testing.T) {
	if ProtocolVersion != "4" {
		t.Fatal("these are the messages of version 4")
	}
	from := sources.In(netip.MustParsePrefix("127.1.0.0/24"), 10)
	for want, message := range map[string]any{
		`{"pid":7,"host":"a","version":"4","connections":9,"sources":{"first":"127.1.0.1","size":10,"begin":0,"count":10}}`: Hello{
			PID: 7, Host: "a", Version: ProtocolVersion, Connections: 9, Sources: from,
		},
		`{"run":"r","agent":"remote1"}`:        Welcome{Run: "r", Agent: "remote1"},
		`{"sent":4,"now":5}`:                   Clock{Sent: 4, Now: 5},
		`{"number":3,"order":{"kind":"rest"}}`: Numbered{3, Order{Kind: OrderRest}},
		`{"number":3,"ack":{"on_node":2}}`:     Answer{3, Ack{OnNode: 2}},
		`{"kind":"open","at":1,"rate":2,"open":{"driver":"socket","endpoint":{"transport":"tcp","host":"h","port":8000,"address":"127.0.0.1:8000"},` +
			`"work":{"era":0,"verify":"whoami","naming":"whoami"},"connections":3,` +
			`"sources":{"first":"","size":0,"begin":0,"count":1},"timeout":1000000000,"patience":{"spread":1000000000,"base":100000000,"limit":2000000000}}}`: Order{
			Kind: OrderOpen, At: 1, Rate: 2, Open: &OpenOrder{
				Driver: Socket, Endpoint: target.Endpoint{
					Target: target.Target{Transport: target.TCP, Host: "h", Port: 8000}, Address: netip.MustParseAddrPort("127.0.0.1:8000"),
				},
				Work: work.Work{Verify: ask.Whoami, Naming: work.ByAnswer}, Connections: 3,
				Sources: sources.KernelsChoice, Timeout: time.Second, Patience: LeastPatience,
			},
		},
		`{"kind":"ping","ping":{"for":1,"record":true,"limits":[5]}}`: Order{Kind: OrderPing, Ping: &PingOrder{For: 1, Record: true, Limits: []int64{5}}},
		`{"kind":"sticky","sticky":{"sample":4}}`:                     Order{Kind: OrderSticky, Sticky: &StickyOrder{Sample: 4}},
		`{"kind":"arm","node":"b"}`:                                   Order{Kind: OrderArm, Node: "b"},
		`{"error":"no","on_node":2}`:                                  Ack{Error: "no", OnNode: 2},
		`{"measured":{"nodes":{"a":{"histogram":"h","windows":[{"n":1,"us":2}]}},"steps":{"ping":{"histogram":"p"}},"windows":[{"n":3,"us":4,"due":5,"failed":1,"slow":[2]}],` +
			`"setup":{"connect":{"histogram":"c"}},"lag":{"histogram":""},"hold_lag":{"histogram":""}}}`: Ack{
			Measured: &Measured{Nodes: map[string]latency.Message{"a": {Histogram: "h", Windows: []latency.Cell{{Count: 1, Sum: 2}}}},
				Steps:   map[string]latency.Message{"ping": {Histogram: "p"}},
				Windows: []latency.Cell{{Count: 3, Sum: 4, Due: 5, Failed: 1, Slow: []int64{2}}}, Setup: map[Stage]latency.Message{StageConnect: {Histogram: "c"}}},
		},
		`{"at":1,"orders":2,"verified":3,"failed":4,"open":5,"nodes":{"a":3},"attempts":6,"failures":{"rate":1},"last_verified":7,` +
			`"dropped":8,"losses":{"reset":1},"idle_closes":14,"displaced":9,"recovered":10,"first_lost":11,"last_recovered":12,"longest_out":15,"moved":13,` +
			`"requests":{"sent":4,"answered":3,"failed":2,"lost":1},"refused":{"429":2},"answers":[0,5],"sessions":{"begun":1,"ended":2,"lost":3},"sticky":{"sampled":3,"consistent":2,"moved":1}}`: Counts{
			At: 1, Orders: 2, Verified: 3, Failed: 4, Open: 5, Nodes: map[string]int{"a": 3}, Attempts: 6,
			Failures: map[string]int64{"rate": 1}, LastVerified: 7, Dropped: 8, Losses: map[string]int64{"reset": 1}, IdleCloses: 14, Displaced: 9,
			Recovered: 10, FirstLost: 11, LastRecovered: 12, LongestOut: 15, Moved: 13,
			Requests: RequestCounts{Sent: 4, Answered: 3, Failed: 2, Lost: 1}, Refused: map[string]int64{"429": 2}, Answers: latency.Buckets{0, 5},
			Sessions: SessionCounts{Begun: 1, Ended: 2, Lost: 3}, Sticky: StickyCounts{Sampled: 3, Consistent: 2, Moved: 1},
		},
	} {
		if got, err := json.Marshal(message); err != nil || string(got) != want {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
	}
}
