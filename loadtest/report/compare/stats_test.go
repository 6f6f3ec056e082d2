package compare

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"
)

// The rank test against all ways to deal the values out.
func TestMannWhitneyIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n, m := 1+random.IntN(5), 1+random.IntN(5)
		all := make([]float64, n+m)
		for i := range all {
			all[i] = float64(random.IntN(6)) // with ties
		}
		ranks := doubledRanks(all)
		off := func(set uint) float64 {
			sum, total := 0, 0
			for i, r := range ranks {
				total += r
				if set>>i&1 == 1 {
					sum += r
				}
			}
			return math.Abs(float64(sum) - float64(n*total)/float64(n+m))
		}
		observed := off(1<<n - 1)
		extreme, ways := 0, 0
		for set := range uint(1) << (n + m) {
			if bits.OnesCount(set) == n {
				ways++
				if off(set) >= observed-1e-9 {
					extreme++
				}
			}
		}
		want := float64(extreme) / float64(ways)
		if got := mannWhitney(all[:n], all[n:]); math.Abs(got-want) > 1e-9 {
			t.Fatalf("%v and %v: p = %v, want %v", all[:n], all[n:], got, want)
		}
	}
	if p, least := mannWhitney([]float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}), leastP(4, 4); math.Abs(p-2.0/70) > 1e-12 || math.Abs(least-p) > 1e-12 {
		t.Errorf("apart: p = %v, least %v", p, least)
	}
}

// Values of printed tables.
func TestStudentP(t *testing.T) {
	for _, c := range []struct{ t, freedom, want float64 }{
		{12.706, 1, 0.05}, {2.776, 4, 0.05}, {4.604, 4, 0.01}, {2.228, 10, 0.05}, {4.587, 10, 0.001}, {1.960, 1e6, 0.05}, {0, 5, 1}, {-2.776, 4, 0.05}, {3.29, 1e7, 0.001},
	} {
		if got := studentP(c.t, c.freedom); math.Abs(got-c.want) > 0.002*c.want+1e-5 {
			t.Errorf("t = %v, %v degrees: p = %v, want %v", c.t, c.freedom, got, c.want)
		}
	}
}

func TestHolm(t *testing.T) {
	got := holm([]float64{0.04, 0.001, 0.03, 0.013}, 0.05)
	for i, want := range []bool{false, true, false, true} {
		if got[i] != want {
			t.Errorf("%v", got)
			break
		}
	}
	if len(holm(nil, 0.05)) != 0 {
		t.Error("nothing is something")
	}
}
