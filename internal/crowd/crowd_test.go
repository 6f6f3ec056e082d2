package crowd

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// guest is one that tells what it is told to.
type guest struct {
	name  string
	since int64
	loss  int
	seat  Seat[int, *guest]
}

func (g *guest) Idle() (int64, int) { return g.since, g.loss }

const second = int64(time.Second)

// What a crowd says agrees with what is counted, whatever comes and goes.
func TestCrowdAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Crowd[int, *guest]
		held := map[int][]*guest{} // by use
		now := second
		some := func(t *rapid.T) (int, int) {
			key := rapid.IntRange(0, 9).Draw(t, "key")
			if len(held[key]) == 0 {
				t.Skip("holds nothing")
			}
			return key, rapid.IntRange(0, len(held[key])-1).Draw(t, "seat")
		}
		t.Repeat(map[string]func(*rapid.T){
			"sit": func(t *rapid.T) {
				key := rapid.IntRange(0, 9).Draw(t, "key")
				g := &guest{since: now}
				held[key] = append(held[key], g)
				if got := c.Sit(key, &g.seat, g, now); got != len(held[key]) {
					t.Fatalf("%d has %d seats, want %d", key, got, len(held[key]))
				}
			},
			"use": func(t *rapid.T) {
				key, i := some(t)
				now += second
				g := held[key][i]
				g.since = now
				c.Use(key, &g.seat, now)
				held[key] = append(slices.Delete(held[key], i, i+1), g)
			},
			"leave": func(t *rapid.T) {
				key, i := some(t)
				g := held[key][i]
				c.Leave(key, &g.seat)
				c.Leave(key, &g.seat)
				held[key] = slices.Delete(held[key], i, i+1)
			},
			"": func(t *rapid.T) {
				now++
				seats, most := 0, 0
				for key, list := range held {
					seats += len(list)
					most = max(most, len(list))
					if c.Held(key) != len(list) {
						t.Fatalf("%d holds %d, want %d", key, c.Held(key), len(list))
					}
					g, ok := c.Idlest(key, now)
					if ok != (len(list) > 0) || ok && g != list[0] {
						t.Fatalf("the idlest of %d is %v %v", key, g, ok)
					}
				}
				key, n, ok := c.Busiest(nil)
				if c.Seats() != seats || ok != (most > 0) || n != most || ok && len(held[key]) != most {
					t.Fatalf("%d of %d seats are of %d, want %d of %d", n, c.Seats(), key, most, seats)
				}
			},
		})
	})
}

// Of a holder's guests the one goes that loses least, however many stand before it.
func TestWhoLosesLeastGoes(t *testing.T) {
	var c Crowd[int, *guest]
	sit := func(name string, loss int, since int64) {
		g := &guest{name: name, loss: loss, since: since}
		c.Sit(1, &g.seat, g, since)
	}
	for i := range 100 {
		sit(fmt.Sprint("call", i), 2, second)
	}
	sit("stream", 1, second)
	sit("rests", 0, 2*second)
	sit("rests for less", 0, 3*second)
	for range 100/looks + 1 {
		if g, _ := c.Idlest(1, 4*second); g.name == "rests" {
			return
		}
	}
	t.Error("calls hide what rests")
}

// Within a second the order is that of the guests themselves.
func TestTheOrderWithinASecond(t *testing.T) {
	var c Crowd[int, *guest]
	var all []*guest
	for i := range 20 {
		g := &guest{name: fmt.Sprint(i), since: second}
		c.Sit(1, &g.seat, g, second+int64(i))
		all = append(all, g)
	}
	for i, g := range all {
		g.since = second + 1000 + int64(i)
		c.Use(1, &g.seat, g.since)
	}
	all[0].since = second + 5000
	c.Use(1, &all[0].seat, all[0].since)
	if g, _ := c.Idlest(1, second+6000); g != all[1] {
		t.Errorf("%s goes, want 1", g.name)
	}
}

// Who weighs most need not have most here.
func TestBusiestByWeight(t *testing.T) {
	var c Crowd[int, *guest]
	for key, n := range map[int]int{1: 20, 2: 10, 3: 1} {
		for range n {
			g := &guest{}
			c.Sit(key, &g.seat, g, second)
		}
	}
	weights := map[int]int{1: 20, 2: 10, 3: 500}
	if key, weight, ok := c.Busiest(func(key, _ int) int { return weights[key] }); key != 3 || weight != 500 || !ok {
		t.Errorf("the busiest is %d with %d, %v", key, weight, ok)
	}
	if key, n, _ := c.Busiest(nil); key != 1 || n != 20 {
		t.Errorf("the busiest is %d with %d", key, n)
	}
}

// A place costs the same whatever is held, and nothing is allocated for one.
func TestSeatsDoNotAllocate(t *testing.T) {
	var c Crowd[int, *guest]
	seats := make([]guest, 10_000)
	for i := range seats {
		c.Sit(i%100, &seats[i].seat, &seats[i], second)
	}
	g, now := &guest{}, second
	if n := testing.AllocsPerRun(1000, func() {
		now += second
		c.Sit(1, &g.seat, g, now)
		c.Use(1, &g.seat, now+second)
		c.Busiest(nil)
		c.Idlest(1, now)
		c.Leave(1, &g.seat)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSitUseLeave(b *testing.B) {
	for _, held := range []int{100, 100_000} {
		b.Run(fmt.Sprint(held), func(b *testing.B) {
			var c Crowd[int, *guest]
			seats := make([]guest, held)
			for i := range seats {
				c.Sit(i%50, &seats[i].seat, &seats[i], second)
			}
			now := second
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				g := &seats[i*7919%held]
				key := i * 7919 % held % 50
				now += second
				c.Use(key, &g.seat, now)
				c.Leave(key, &g.seat)
				c.Sit(key, &g.seat, g, now)
				c.Busiest(nil)
			}
		})
	}
}
