package policy

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

func candidateList(weights ...uint32) []Candidate {
	var list []Candidate
	for slot, weight := range weights {
		list = append(list, Candidate{Slot: slot, weight: weight * 256, hash: Mix(uint64(slot) + 1)})
	}
	return list
}

func newPicker(balance proxy.Balance) *Picker {
	p := &Picker{Balance: balance}
	p.Begin(new(board.Turns), 1)
	return p
}

// share picks often, as connections that stay, and returns each slot's share.
func share(balance proxy.Balance, list []Candidate, picks int) []float64 {
	p := newPicker(balance)
	for i := range picks {
		list[p.pick(list, Mix(uint64(i)))].load++
	}
	shares := make([]float64, len(list))
	for i, c := range list {
		shares[i] = float64(c.load) / float64(picks)
	}
	return shares
}

func TestSharesFollowWeights(t *testing.T) {
	for balance, tolerance := range map[proxy.Balance]float64{
		proxy.BalanceLeastConn: 0.001, proxy.BalanceRoundRobin: 0.001, proxy.BalanceRandom2: 0.01, proxy.BalanceSource: 0.02,
	} {
		for i, got := range share(balance, candidateList(1, 2, 5), 40_000) {
			if want := []float64{0.125, 0.25, 0.625}[i]; math.Abs(got-want) > tolerance {
				t.Errorf("%s: slot %d has %.4f of the connections, want %.4f ± %.3f", balance, i, got, want, tolerance)
			}
		}
	}
}

func TestLeastConnFillsTheEmptiest(t *testing.T) {
	list := candidateList(1, 1, 1)
	list[0].load, list[1].load, list[2].load = 7, 3, 9
	p := newPicker(proxy.BalanceLeastConn)
	for range 4 {
		if got := p.pick(list, 0); got != 1 {
			t.Fatalf("picked %d", got)
		}
	}
}

// Without a node, only its own sources move.
func TestRendezvousMovesOnlyTheLostNodesSources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := candidateList(rapid.SliceOfN(rapid.Uint32Range(1, 256), 2, 8).Draw(t, "weights")...)
		lost := rapid.IntRange(0, len(list)-1).Draw(t, "lost")
		rest := append(append([]Candidate(nil), list[:lost]...), list[lost+1:]...)
		source := rapid.Uint64().Draw(t, "source")
		before, after := rendezvous(list, source), rendezvous(rest, source)
		if before != lost && after != before {
			t.Fatalf("source moved from %d to %d though %d was lost", before, after, lost)
		}
	})
}

func TestPickDoesNotAllocate(t *testing.T) {
	list := candidateList(1, 2, 3, 4)
	for _, balance := range []proxy.Balance{proxy.BalanceLeastConn, proxy.BalanceRoundRobin, proxy.BalanceSource, proxy.BalanceRandom2} {
		p := newPicker(balance)
		if n := testing.AllocsPerRun(100, func() { p.pick(list, 42) }); n != 0 {
			t.Errorf("%s: %.1f allocations", balance, n)
		}
	}
}
