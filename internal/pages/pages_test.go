package pages

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/erlmcp/erlmcp/internal/proc"
)

// What a text holds stays as it grows, from nothing or from the heap, by little and by much.
func TestGrow(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for _, first := range [][]byte{nil, make([]byte, 0, 100), make([]byte, 3000, 4096)} {
		b, want := first, bytes.Clone(first)
		for _, size := range []int{Long - 1, Long, Long + 1, 1 << 20, 1<<20 + 5, 1 << 24} {
			b = Grow(b, size)
			if cap(b) < size || !bytes.Equal(b, want) {
				t.Fatalf("%d bytes and room for %d, of %d that were and room for %d", len(b), cap(b), len(want), size)
			}
			more := make([]byte, min(size-len(b), 1<<20))
			_, _ = random.Read(more)
			b, want = append(b, more...), append(want, more...)
		}
		if same := Grow(b, 5); &same[0] != &b[0] {
			t.Error("what is large enough is another")
		}
		Free(b)
	}
}

// Memory of the heap is not given to the system, and nothing is not either.
func TestFreeOfTheHeap(t *testing.T) {
	b := bytes.Repeat([]byte{7}, 1<<20)
	Free(b)
	Free(b[:10])
	Free(nil)
	if !bytes.Equal(b, bytes.Repeat([]byte{7}, 1<<20)) {
		t.Error("it has changed")
	}
}

// What was freed is the system's at once.
func TestFree(t *testing.T) {
	const size = 64 << 20
	resident := func() int64 {
		state, err := proc.Read(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		return state.RSS
	}
	before := resident()
	b := Grow(nil, size)[:size]
	for i := range b {
		b[i] = 1
	}
	if now := resident(); now < before+size/2 {
		t.Fatalf("%d bytes are resident, with a text of %d; %d before", now, size, before)
	}
	Free(b)
	if now := resident(); now > before+size/2 {
		t.Errorf("%d bytes are resident behind it, %d before", now, before)
	}
}
