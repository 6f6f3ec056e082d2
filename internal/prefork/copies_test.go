package prefork

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestCopies(t *testing.T) {
	tests := []struct {
		name                  string
		cores, items, perItem int
		nofile                uint64
		want                  int
	}{
		{"balancer, 1,024", 2, 100_000, 2, 1_024, 320},
		{"balancer, 4,096", 2, 100_000, 2, 4_096, 58},
		{"balancer, 20,000", 2, 100_000, 2, 20_000, 12},
		{"balancer, 65,536", 2, 100_000, 2, 65_536, 4},
		{"balancer, 524,288", 2, 100_000, 2, 524_288, 2},
		{"balancer, 1,000,000", 2, 100_000, 2, 1_000_000, 2},
		{"one core, 1,000,000", 1, 100_000, 2, 1_000_000, 1},
		{"node, 20,000", 2, 35_000, 1, 20_000, 2},
		{"node, 1,024", 2, 35_000, 1, 1_024, 53},
		{"many cores", 64, 100_000, 2, 1_000_000, 64},
		{"more cores than MaxCopies", 768, 100_000, 2, 1_000_000, 768},
		{"nothing to hold", 4, 0, 2, 1_024, 4},
		{"cores unknown", 0, 10, 2, 1_024, 1},
		{"no limit", 2, 100_000, 2, math.MaxUint64, 2},
		{"limit within the reserve", 2, 100_000, 2, 256, 0},
		{"room for one descriptor, two needed", 2, 1, 2, 257, 0},
		{"room for one connection", 1, 1, 2, 258, 2}, // one copy would lack the headroom
		{"room for two connections", 1, 1, 2, 260, 1},
		{"too low", 2, 100_000, 2, 600, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Copies(tt.cores, tt.items, tt.perItem, tt.nofile); got != tt.want {
				t.Errorf("Copies(%d, %d, %d, %d) = %d, want %d", tt.cores, tt.items, tt.perItem, tt.nofile, got, tt.want)
			}
		})
	}
}

type load struct {
	cores, items, perItem int
	nofile                uint64
}

func drawLoad(t *rapid.T) load {
	return load{
		cores:   rapid.IntRange(1, 256).Draw(t, "cores"),
		items:   rapid.IntRange(0, 2_000_000).Draw(t, "items"),
		perItem: rapid.IntRange(1, 4).Draw(t, "perItem"),
		nofile:  rapid.Uint64Range(0, 2_000_000).Draw(t, "nofile"),
	}
}

func (l load) copies() int { return Copies(l.cores, l.items, l.perItem, l.nofile) }

// fits is the promise of Copies written down a second time, in floating point.
func (l load) fits(n int) bool {
	m := float64(l.items) / float64(n)
	spread := math.Min(float64(l.items), m+4*math.Sqrt(m*(1-1/float64(n))))
	return float64(l.perItem)*math.Max(spread, 1.1*m) <= math.Max(0, float64(l.nofile)-Reserve)+1e-6
}

func TestCopiesFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLoad(t)
		n := l.copies()
		switch {
		case n == 0:
			if Room(l.perItem, l.nofile) >= share(l.items, MaxCopies) {
				t.Fatalf("%+v: refused, but %d copies do", l, MaxCopies)
			}
		case n < l.cores:
			t.Fatalf("%+v: %d copies, fewer than cores", l, n)
		case !l.fits(n):
			t.Fatalf("%+v: %d copies do not fit", l, n)
		case n > l.cores && share(l.items, n-1) <= Room(l.perItem, l.nofile):
			t.Fatalf("%+v: %d copies, but one less would do", l, n)
		}
	})
}

func TestCopiesMonotone(t *testing.T) {
	// No number of copies is more than any number.
	rank := func(n int) int {
		if n == 0 {
			return math.MaxInt
		}
		return n
	}
	rapid.Check(t, func(t *rapid.T) {
		l := drawLoad(t)
		more := rapid.IntRange(1, 100_000).Draw(t, "more")
		n := rank(l.copies())
		greater := map[string]load{
			"items":   {l.cores, l.items + more, l.perItem, l.nofile},
			"perItem": {l.cores, l.items, l.perItem + more, l.nofile},
			"nofile":  {l.cores, l.items, l.perItem, l.nofile - min(l.nofile, uint64(more))},
		}
		for what, g := range greater {
			if got := rank(g.copies()); got < n {
				t.Fatalf("%s: %+v takes %d copies, %+v only %d", what, l, n, g, got)
			}
		}
		// More cores need more processes, and may be enough where MaxCopies was not.
		c := load{l.cores + more%MaxCopies, l.items, l.perItem, l.nofile}
		if got := c.copies(); l.copies() != 0 && got < l.copies() {
			t.Fatalf("cores: %+v takes %d copies, %+v only %d", l, l.copies(), c, got)
		}
	})
}

// What the formula promises must hold for a real hash: items thrown at copies at random.
func TestCopiesHoldsRandomShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := load{cores: 2, perItem: 2,
			items:  rapid.IntRange(1, 20_000).Draw(t, "items"),
			nofile: rapid.Uint64Range(1_024, 20_000).Draw(t, "nofile"),
		}
		n := l.copies()
		if n == 0 {
			t.Fatalf("%+v: refused", l)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		held := make([]int, n)
		over := 0
		for range l.items {
			i := r.IntN(n)
			held[i]++
			if held[i] > Room(l.perItem, l.nofile) {
				over++
			}
		}
		// Beyond four deviations there may be a straggler, never a noticeable share.
		if over > 1+l.items/1_000 {
			t.Fatalf("%+v: %d of %d items found no room in %d copies", l, over, l.items, n)
		}
	})
}

func TestShareNeverRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.IntRange(0, 2_000_000).Draw(t, "items")
		n := rapid.IntRange(1, 2*MaxCopies).Draw(t, "n")
		if a, b := share(items, n), share(items, n+1); b > a {
			t.Fatalf("share of %d items: %d in %d copies, %d in %d", items, a, n, b, n+1)
		}
	})
}
