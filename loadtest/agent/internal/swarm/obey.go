package swarm

import (
	"errors"
	"fmt"

	"github.com/erlmcp/erlmcp/internal/mono"
	"github.com/erlmcp/erlmcp/internal/reactor"
	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// Start begins a swarm without clients, on a loop of its own. settled is called on the loop when what an order asked for may
// be complete, failed when the loop has ended by itself.
func Start(settled func(), failed func(error)) (*Swarm, error) {
	loop, err := reactor.NewLoop(reactor.Options{})
	if err != nil {
		return nil, err
	}
	s := newSwarm(loop, settled)
	go func() {
		defer close(s.ended)
		if err := loop.Run(); err != nil {
			failed(fmt.Errorf("event loop: %w", err))
		}
	}()
	return s, nil
}

// Stop ends all connections at once, and returns when that is done.
func (s *Swarm) Stop() {
	s.loop.Stop()
	<-s.ended
}

// Counts are those of a moment; zero after the loop has ended.
func (s *Swarm) Counts() wire.Counts {
	taken := make(chan wire.Counts, 1)
	s.loop.Post(func() { taken <- s.counts() })
	select {
	case n := <-taken:
		return n
	case <-s.ended:
		return wire.Counts{At: mono.Now()}
	}
}

// Obey begins with what an order asks for, whose instants are on this machine's clock, and then calls back from the loop.
func (s *Swarm) Obey(o *wire.Order, begun func(wire.Ack, error)) {
	s.loop.Post(func() {
		answer, err := s.obey(o)
		s.tally.N.Orders++
		begun(answer, err)
		s.settled() // the next report shows the state after the order
	})
}

func (s *Swarm) obey(o *wire.Order) (answer wire.Ack, err error) {
	switch {
	case o.Kind == wire.OrderOpen && o.Open != nil && o.Rate > 0:
		err = s.open(o.At, o.Rate, o.Open)
	case o.Kind == wire.OrderRest:
		s.openRest(o.At)
	case o.Kind == wire.OrderPing && o.Ping != nil && o.Rate > 0:
		s.ping(o.At, o.Rate, o.Ping)
	case o.Kind == wire.OrderQuiet:
		s.quiet()
	case o.Kind == wire.OrderSticky && o.Sticky != nil && o.Rate > 0:
		s.sticky(o.Rate, o.Sticky)
	case o.Kind == wire.OrderArm:
		answer.OnNode = s.arm(o.Node)
	case o.Kind == wire.OrderDisarm:
		s.disarm()
	case o.Kind == wire.OrderCollect:
		answer.Measured, err = s.tally.Measured(s.script)
	case o.Kind == wire.OrderClose && o.Rate > 0:
		s.close(o.Rate)
	default:
		err = errors.New("order not understood")
	}
	return answer, err
}
