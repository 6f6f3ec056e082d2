package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/erlmcp/erlmcp/loadtest/internal/wire"
)

// Answer is what an agent says to an order about its share.
type Answer struct {
	Share Share
	wire.Ack
}

// Tell gives every share's agent an order and returns the answers of those that are left, in the order of their shares.
func (f *Fleet) Tell(ctx context.Context, shares []Share, make func(i int, s Share) wire.Order) (answers []Answer, err error) {
	acks := slices.Repeat([]*wire.Ack{nil}, len(shares))
	var g errgroup.Group
	for i, s := range shares {
		g.Go(func() (err error) {
			acks[i], err = f.ask(ctx, s.Agent, make(i, s))
			return err
		})
	}
	err = g.Wait()
	for i, a := range acks {
		if a != nil {
			answers = append(answers, Answer{shares[i], *a})
		}
	}
	return answers, err
}

// ask gives an agent an order and returns its answer; nil if it was lost, or is now.
func (f *Fleet) ask(ctx context.Context, name string, o wire.Order) (*wire.Ack, error) {
	f.mu.Lock()
	a := f.agents[name]
	if a == nil || a.lost() {
		f.mu.Unlock()
		return nil, nil
	}
	a.orders++
	number, answer := a.orders, make(chan wire.Ack, 1)
	a.answers[number] = answer
	f.mu.Unlock()
	if err := a.peer.Send(wire.KindOrder, wire.Numbered{Number: number, Order: o}); err != nil {
		f.lose(name, err)
		return nil, nil
	}
	patience := time.NewTimer(silence)
	defer patience.Stop()
	select {
	case ack := <-answer:
		if ack.Error != "" {
			return nil, errors.New(ack.Error)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		a.told++
		if o.Kind == wire.OrderArm {
			a.onNode = ack.OnNode
		}
		return &ack, nil
	case <-a.gone:
		return nil, nil
	case <-patience.C:
		f.lose(name, fmt.Errorf("it does not take the order %q", o.Kind))
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
