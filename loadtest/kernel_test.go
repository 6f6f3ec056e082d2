package loadtest

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/erlmcp/erlmcp/loadtest/system"
)

// passing is a system whose balancer passes requests over so many connections to the node "a", look by look, the last number
// for ever.
type passing struct {
	system.Unknown
	counts []int
	looks  int
}

func (p *passing) Observe(context.Context) (system.Observation, error) {
	n := p.counts[min(p.looks, len(p.counts)-1)]
	if p.looks++; n < 0 {
		return system.Observation{}, errors.New("it does not say")
	}
	return system.Observation{Nodes: []system.NodeView{{Name: "a", Passing: n}, {Name: "b"}}}, nil
}

// Connections over which a balancer passes requests are no client's.
func TestKernelCountsWhatClientsHold(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 7 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		taken, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
	}
	seen := system.Observation{Balancer: &system.BalancerView{}, Nodes: []system.NodeView{{Name: "a", Address: l.Addr().String()}}}
	for name, c := range map[string]struct {
		passing     []int
		want, looks int
	}{
		"nothing passes":       {[]int{0}, 7, 2},
		"some do":              {[]int{3}, 4, 2},
		"they become fewer":    {[]int{5, 3, 2, 2}, 5, 4},
		"nobody knows":         {[]int{-1}, 7, 2},
		"it was known at once": {[]int{2, -1, 2}, 5, 4},
	} {
		t.Run(name, func(t *testing.T) {
			system := &passing{counts: c.passing}
			counts, err := (&run{system: system, facts: facts{seen: seen}}).kernelCounts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if counts == nil {
				t.Skip("the kernel does not tell")
			}
			if counts["a"] != c.want || len(counts) != 1 || system.looks != c.looks {
				t.Errorf("%v after %d looks, want %d after %d", counts, system.looks, c.want, c.looks)
			}
		})
	}
}

// The clients of a mix end at several addresses of a node.
func TestKernelCountsOfAMix(t *testing.T) {
	var ways []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ways = append(ways, l.Addr().String())
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		taken, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
	}
	seen := system.Observation{Nodes: []system.NodeView{{Name: "a", Address: ways[0], Ways: ways}}}
	for aims, want := range map[int]int{1: 1, 2: 2} {
		counts, err := (&run{facts: facts{seen: seen, aims: make([]aim, aims)}}).kernelCounts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if counts != nil && counts["a"] != want {
			t.Errorf("%d transports: %v, want %d", aims, counts, want)
		}
	}
}
