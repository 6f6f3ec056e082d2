package node

import (
	"math/bits"
	"math/rand/v2"
	"runtime/debug"
	"testing"
)

// holds is a holder in a test.
type holds struct{ holding }

// Against a slice that is searched: who is first has the most, and of those with about as much is still for longest.
func TestHoard(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	q := hoard[*holds]{most: 1 << 20}
	all := make([]*holds, 300)
	for i := range all {
		all[i] = new(holds)
	}
	for now := int32(1); now < 20_000; now++ {
		bytes := random.IntN(3 * little)
		if random.IntN(10) == 0 {
			bytes <<= random.IntN(10)
		}
		q.hold(all[random.IntN(len(all))], bytes, now)
		for {
			sum := 0
			var most *holds
			for _, h := range all {
				sum += int(h.bytes)
				if h.bytes <= little {
					continue
				}
				if class := func(h *holds) int { return bits.Len32(uint32(h.bytes)) }; most == nil || class(h) > class(most) || class(h) == class(most) && h.moved < most.moved {
					most = h
				}
			}
			if q.held != sum {
				t.Fatalf("%d bytes are counted of %d", q.held, sum)
			}
			first, ok := q.first()
			if ok != (sum > q.most && most != nil) || ok && (first.moved != most.moved || first.bytes != most.bytes) {
				t.Fatalf("first is %+v (%t), want %+v", first, ok, most)
			}
			if !ok {
				break
			}
			q.hold(first, 0, now)
		}
	}
	for _, h := range all {
		q.hold(h, 0, 0)
	}
	if q.held != 0 || len(q.large) != 0 {
		t.Errorf("%d bytes of %d holders are left", q.held, len(q.large))
	}
}

// The limit of the heap follows the sessions, unless an operator has set it.
func TestHeapFollowsSessions(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before); ownLimit.Store(false) })
	followSessions(4 * heapStep)
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("the limit of an operator became %d", got)
	}
	ownLimit.Store(true)
	for _, c := range []struct {
		sessions int
		want     int64
	}{{4 * heapStep, heapLimit + 4*heapStep*sessionBytes}, {4*heapStep + 1, heapLimit + 4*heapStep*sessionBytes}, {0, heapLimit}} {
		followSessions(c.sessions)
		if got := debug.SetMemoryLimit(-1); got != c.want {
			t.Errorf("with %d sessions the limit is %d, want %d", c.sessions, got, c.want)
		}
	}
}
