package fleet

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/log"

	"github.com/erlmcp/erlmcp/loadtest/internal/bus"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// deaf is an agent that answers nothing.
type deaf struct {
	mu     sync.Mutex
	said   []bus.Message
	closed []string
}

func (d *deaf) Send(kind string, data any) error {
	text, err := json.Marshal(data)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said = append(d.said, bus.Message{Kind: kind, Data: text})
	return err
}

func (d *deaf) Close(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = append(d.closed, why)
}

func (d *deaf) welcome(t *testing.T) (w wire.Welcome) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := json.Unmarshal(d.said[len(d.said)-1].Data, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

func say(t *testing.T, f *Fleet, p bus.Peer, kind string, data any) {
	t.Helper()
	text, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	f.heard(p, bus.Message{Kind: kind, Data: text})
}

// testFleet awaits remote agents that a test plays.
func testFleet(t *testing.T, agents int) (f *Fleet, ended *error) {
	t.Helper()
	ended = new(error)
	f = &Fleet{
		run: "r", remote: agents, log: log.New(io.Discard), fail: func(err error) { *ended = err },
		agents: make(map[string]*agentState), peers: make(map[bus.Peer]*agentState), changed: make(chan struct{}),
	}
	return f, ended
}

func TestWhoTakesPart(t *testing.T) {
	f, ended := testFleet(t, 2)
	hello := wire.Hello{Version: wire.ProtocolVersion, Connections: 10, Host: "h"}
	old := hello
	old.Version = "0"
	agents := []*deaf{{}, {}, {}, {}}
	say(t, f, agents[0], wire.KindHello, old)
	if w := agents[0].welcome(t); !strings.Contains(w.Error, "it speaks version 0") {
		t.Errorf("%+v", w)
	}
	say(t, f, agents[1], wire.KindReport, wire.Counts{}) // who is nobody yet
	if len(agents[1].closed) != 1 || len(f.order) != 0 {
		t.Errorf("%+v %v", agents[1], f.order)
	}
	say(t, f, agents[0], wire.KindHello, hello)
	say(t, f, agents[0], wire.KindHello, hello)
	if w := agents[0].welcome(t); w.Error != "it takes part already" {
		t.Errorf("%+v", w)
	}
	f.gone(agents[0], errors.New("before all were here"))
	say(t, f, agents[1], wire.KindHello, hello)
	say(t, f, agents[2], wire.KindHello, hello)
	if a, b := agents[1].welcome(t), agents[2].welcome(t); a.Agent != "remote1" || b.Agent != "remote2" || a.Error+b.Error != "" || *ended != nil {
		t.Errorf("%+v %+v %v", a, b, *ended)
	}
	say(t, f, agents[3], wire.KindHello, hello)
	if w := agents[3].welcome(t); w.Error != "it has all agents that it waits for" {
		t.Errorf("%+v", w)
	}
	f.Begin([]Share{{Agent: "remote1", Connections: 50}, {Agent: "remote2", Connections: 50}}, time.Now())
	f.gone(agents[2], errors.New("why"))
	say(t, f, agents[3], wire.KindHello, hello)
	if w := agents[3].welcome(t); w.Error != "it has begun without this agent" {
		t.Errorf("%+v", w)
	}
}

// What a lost agent has counted is in no sum any more, neither in those of earlier. One that comes back is told to leave.
func TestLosses(t *testing.T) {
	f, ended := testFleet(t, 3)
	agents := []*deaf{{}, {}, {}}
	for i, p := range agents {
		say(t, f, p, wire.KindHello, wire.Hello{Version: wire.ProtocolVersion, Connections: 10, PID: i, Host: "h"})
		say(t, f, p, wire.KindReport, wire.Counts{Verified: 10, Requests: wire.RequestCounts{Sent: 100, Answered: 90}})
	}
	shares := []Share{{Agent: "remote1", Connections: 10}, {Agent: "remote2", Connections: 10}, {Agent: "remote3", Connections: 10}}
	f.Begin(shares, time.Now())
	earlier := f.Parts()
	say(t, f, agents[0], wire.KindReport, wire.Counts{Verified: 10, Requests: wire.RequestCounts{Sent: 200, Answered: 200}})
	f.lose("remote2", errors.New("why"))
	f.lose("remote2", errors.New("again"))
	before, now := f.Since(earlier)
	if n := now.Requests.Minus(before.Requests); n.Sent != 100 || n.Answered != 110 || f.Counts().Verified != 20 || f.Connections() != 20 {
		t.Errorf("%+v %+v, %d", n, f.Counts(), f.Connections())
	}
	if l := f.Losses(); len(l) != 1 || l[0].Agent != "remote2" || l[0].PID != 1 || l[0].Why != "why" || l[0].Connections != 10 || l[0].Requests != 100 || *ended != nil {
		t.Errorf("%+v %v", l, *ended)
	}
	closed := len(agents[1].closed)
	say(t, f, agents[1], wire.KindReport, wire.Counts{Verified: 10})
	if len(agents[1].closed) != closed+1 || f.Counts().Verified != 20 {
		t.Errorf("%+v", agents[1].closed)
	}
	acks, err := f.Tell(t.Context(), shares[1:2], func(int, Share) wire.Order { return wire.Order{Kind: wire.OrderQuiet} })
	if err != nil || len(acks) != 0 {
		t.Errorf("%+v, %v", acks, err)
	}
	f.lose("remote1", errors.New("why too"))
	if *ended == nil || (*ended).Error() != "20 of 30 connections were lost with load agents, the last with remote1: why too" {
		t.Error(*ended)
	}
}

// obedient is an agent that answers every order at once.
type obedient struct {
	deaf
	t *testing.T
	f *Fleet
}

func (o *obedient) Send(kind string, data any) error {
	if order, is := data.(wire.Numbered); is {
		say(o.t, o.f, o, wire.KindAnswer, wire.Answer{Number: order.Number, Ack: wire.Ack{OnNode: int(order.Order.Rate)}})
	}
	return o.deaf.Send(kind, data)
}

// Whoever is lost, an answer is known to be of its share.
func TestAnswersAreOfTheirShares(t *testing.T) {
	f, _ := testFleet(t, 3)
	shares := []Share{{Agent: "remote1", Part: 0, Connections: 10}, {Agent: "remote2", Part: 1, Connections: 10}, {Agent: "remote3", Part: 1, Connections: 10}}
	for range shares {
		say(t, f, &obedient{t: t, f: f}, wire.KindHello, wire.Hello{Version: wire.ProtocolVersion, Connections: 10, Host: "h"})
	}
	f.Begin(shares, time.Now())
	f.lose("remote1", errors.New("why"))
	answers, err := f.Tell(t.Context(), shares, func(i int, _ Share) wire.Order { return wire.Order{Kind: wire.OrderCollect, Rate: float64(i)} })
	if err != nil || len(answers) != 2 {
		t.Fatalf("%+v, %v", answers, err)
	}
	for i, a := range answers {
		if a.Share != shares[i+1] || a.OnNode != i+1 {
			t.Errorf("answer %d: %+v", i, a)
		}
	}
}
