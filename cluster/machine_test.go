package cluster

import (
	"context"
	"testing"
)

// A loop that does not turn does not vouch for its supervisor; one that is over need not.
func TestTurn(t *testing.T) {
	m := &machine{orders: make(chan order), over: make(chan struct{})}
	at, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.turn(at); err == nil {
		t.Error("a loop that does not run turns")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	turning := make(chan struct{})
	go func() {
		defer close(turning)
		m.obey(<-m.orders)
	}()
	if err := m.turn(ctx); err != nil {
		t.Error(err)
	}
	<-turning
	close(m.over)
	if err := m.turn(ctx); err != nil {
		t.Errorf("a loop that is over: %v", err)
	}
}
