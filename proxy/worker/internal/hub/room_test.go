package hub

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// stander holds a place and does nothing.
type stander struct {
	w      *Hub
	source board.SlotID
	seat   SourceSeat
	gone   *int
}

func (s *stander) Idle() (int64, int) { return s.seat.Used(), LosesNothing }

func (s *stander) GiveWay() {
	s.w.Unseat(s.source, &s.seat)
	*s.gone++
}

// However many sources have a connection each, who has many gives way, and nobody else, and finding that out allocates
// nothing.
func TestWhoHoldsMostAmongManyGivesWay(t *testing.T) {
	for _, sources := range []int{22, 200_000} {
		t.Run(fmt.Sprint(sources), func(t *testing.T) {
			const heavy = 1000
			shared, err := board.Create(board.Layout{Workers: 2, Sources: 1 << 18})
			if err != nil {
				t.Fatal(err)
			}
			loop, err := reactor.NewLoop(reactor.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer shared.Close()
			go loop.Stop()
			defer func() { _ = loop.Run() }()
			w := &Hub{Board: shared, Loop: loop, Cell: shared.Worker(0), Max: 1 << 20}
			w.Spec.MaxConnections = sources + heavy
			gone, many := 0, 0
			enter := func(addr netip.Addr, gone *int) {
				s := &stander{w: w, source: shared.Sources().Find(addr, loop.Now()), gone: gone}
				w.Seat(s.source, &s.seat, s, false)
			}
			for i := range sources {
				enter(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), &many)
			}
			for range heavy {
				enter(netip.MustParseAddr("192.0.2.1"), &gone)
			}
			newcomer := shared.Sources().Find(netip.MustParseAddr("192.0.2.2"), loop.Now())
			for range heavy - 2 {
				if _, _, ok := w.HasRoom(newcomer); !ok {
					t.Fatalf("no room after %d gave way", gone)
				}
				w.Cell.Active.Add(1)
			}
			if gone != heavy-2 || many != 0 {
				t.Errorf("%d of the one that holds most and %d others gave way", gone, many)
			}
			w.Spec.MaxConnections = 1 // with nobody to give way it costs no more
			equal := shared.Sources().Find(netip.MustParseAddr("10.0.0.1"), loop.Now())
			if n := testing.AllocsPerRun(100, func() { w.HasRoom(equal) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
			if _, _, ok := w.HasRoom(equal); ok || many != 0 {
				t.Error("equals give way")
			}
		})
	}
}
