package policy

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// pickers are those of several workers over one board.
func pickers(n int, balance proxy.Balance) []*Picker {
	shared := new(board.Turns)
	list := make([]*Picker, n)
	for i := range list {
		list[i] = &Picker{Balance: balance}
		list[i].Begin(shared, uint64(i))
	}
	return list
}

// offShare is the most that a node is off its share of clients, which hold nothing.
func offShare(list []Candidate, got []int) (worst float64) {
	var sum uint32
	clients := 0
	for i, c := range list {
		sum += c.weight
		clients += got[i]
	}
	for i, c := range list {
		worst = max(worst, math.Abs(float64(got[i])-float64(clients)*float64(c.weight)/float64(sum)))
	}
	return worst
}

var turnWeights = [][]uint32{
	{1, 1}, {3, 2, 1}, {1, 1, 1, 1}, {1, 2, 3, 4, 5}, {5, 1, 1, 1, 1, 1}, {1, 2, 4, 8, 16, 1}, {1, 2, 3, 4, 5, 6, 7, 8}, {1, 1, 1, 1, 1, 1, 1, 1},
}

// Whichever workers they come to, few clients go to the nodes by their weights.
func TestFewClientsFollowWeights(t *testing.T) {
	for _, balance := range []proxy.Balance{proxy.BalanceRoundRobin, proxy.BalanceLeastConn} {
		for _, weights := range turnWeights {
			for _, workers := range []int{1, 2, 12} {
				for _, clients := range []int{12, 60, 600} {
					list, all := candidateList(weights...), pickers(workers, balance)
					got := make([]int, len(list))
					for i := range clients {
						got[all[i%workers].pick(slices.Clone(list), 0)]++
					}
					allowed := max(1, 0.02*float64(clients))
					if off := offShare(list, got); off > allowed {
						t.Errorf("%s, weights %v, %d workers, %d clients: %v, %.2f off, more than %.2f", balance, weights, workers, clients, got, off, allowed)
					}
				}
			}
		}
	}
}

// Chance needs more of them.
func TestIdleNodesAreDrawnByWeight(t *testing.T) {
	for _, weights := range turnWeights {
		list, p := candidateList(weights...), newPicker(proxy.BalanceRandom2)
		got := make([]int, len(list))
		const clients = 20_000
		for range clients {
			got[p.pick(list, 0)]++
		}
		if off := offShare(list, got); off > 0.02*clients {
			t.Errorf("weights %v: %v", weights, got)
		}
	}
}

// No node is ever a whole client off, whatever the weights.
func TestTurnsAreSmooth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := candidateList(rapid.SliceOfN(rapid.Uint32Range(1, 256), 2, 8).Draw(t, "weights")...)
		all := pickers(3, proxy.BalanceRoundRobin)
		got := make([]int, len(list))
		for i := range rapid.IntRange(1, 1000).Draw(t, "clients") {
			got[all[i%3].pick(list, 0)]++
			if off := offShare(list, got); off > 1.001 {
				t.Fatalf("after %d clients: %v, %.3f off", i+1, got, off)
			}
		}
	})
}

// Nodes that come up one after the other grow into their shares. None is left out for good, and none
// makes up for the time in which it was away or light.
func TestTurnsWhileNodesRamp(t *testing.T) {
	for _, balance := range []proxy.Balance{proxy.BalanceRoundRobin, proxy.BalanceLeastConn} {
		p := newPicker(balance)
		list := candidateList(1, 1, 1, 1)
		for range 1000 {
			p.pick(list[:3], 0)
		}
		turn := func(clients int) []int {
			got := make([]int, len(list))
			for range clients {
				got[p.pick(list, 0)]++
			}
			return got
		}
		list[3].weight = 1 // it has just come up
		if got := turn(60); got[3] > 2 {
			t.Errorf("%s: %v as it begins", balance, got)
		}
		list[3].weight = 128
		if got := turn(70); offShare(list, got) > 2 {
			t.Errorf("%s: %v with half its weight", balance, got)
		}
		for i := range list {
			list[i].weight = 1 // all were restarted
		}
		if got := turn(60); offShare(list, got) > 2 {
			t.Errorf("%s: %v with all nodes alike", balance, got)
		}
		for i := range list {
			list[i].weight = 256
		}
		if got := turn(60); offShare(list, got) > 2 {
			t.Errorf("%s: %v in the end", balance, got)
		}
	}
}

// A node that grows is spared as long as it is light, even if the others are never idle.
func TestALightNodeIsSparedUnderLoad(t *testing.T) {
	p := newPicker(proxy.BalanceLeastConn)
	list := candidateList(1, 1, 1)
	list[2].weight = 8 // 1/32
	list[0].load, list[1].load = 4, 4
	got := make([]int, len(list))
	for range 650 {
		got[p.pick(list, 0)]++
	}
	if got[2] > 40 {
		t.Errorf("%v", got)
	}
}

// Turns never send a client to the busier of two nodes alike.
func TestTurnsYieldToConnections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPicker(proxy.BalanceLeastConn)
		list := candidateList(1, 1, 1)
		for range rapid.IntRange(1, 200).Draw(t, "clients") {
			least := int64(math.MaxInt64)
			for i := range list {
				list[i].load = rapid.Int64Range(0, 3).Draw(t, "load")
				least = min(least, list[i].load)
			}
			if got := list[p.pick(list, 0)]; got.load != least {
				t.Fatalf("picked one with %d connections, another has %d", got.load, least)
			}
		}
	})
}

// Many workers at once lose no turn.
func TestConcurrentTurns(t *testing.T) {
	for _, balance := range []proxy.Balance{proxy.BalanceRoundRobin, proxy.BalanceLeastConn} {
		const workers, each = 8, 600
		list := candidateList(3, 2, 1)
		var counts [workers][3]int
		var wg sync.WaitGroup
		for w, p := range pickers(workers, balance) {
			wg.Go(func() {
				mine := slices.Clone(list)
				for range each {
					counts[w][p.pick(mine, 0)]++
				}
			})
		}
		wg.Wait()
		got := make([]int, 3)
		for _, c := range counts {
			for i, n := range c {
				got[i] += n
			}
		}
		if off := offShare(list, got); off > 0.02*workers*each {
			t.Errorf("%s: %v", balance, got)
		}
	}
}

// Times wrap around.
func TestTurnsWrapAround(t *testing.T) {
	for _, balance := range []proxy.Balance{proxy.BalanceRoundRobin, proxy.BalanceLeastConn} {
		p := newPicker(balance)
		list := candidateList(3, 2, 1)
		for _, at := range []int64{math.MaxInt64 - turnUnit/256, math.MinInt64} {
			p.turns.board.Clock.Store(at)
			got := make([]int, 3)
			for range 600 {
				got[p.pick(list, 0)]++
			}
			if off := offShare(list, got); off > 3 {
				t.Errorf("%s from %d: %v", balance, at, got)
			}
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, balance := range []proxy.Balance{proxy.BalanceLeastConn, proxy.BalanceRoundRobin, proxy.BalanceRandom2} {
		for _, nodes := range []int{4, 64} {
			b.Run(fmt.Sprintf("%s/%d", balance, nodes), func(b *testing.B) {
				p, list := newPicker(balance), candidateList(slices.Repeat([]uint32{1}, nodes)...)
				for b.Loop() {
					p.pick(list, 0)
				}
			})
		}
	}
}
