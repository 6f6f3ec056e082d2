package board

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/guardtest"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		child(role)
		return
	}
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}

func TestCellsFillCacheLines(t *testing.T) {
	for name, got := range map[string][2]uintptr{
		"header":  {unsafe.Sizeof(header{}), 64},
		"Global":  {unsafe.Sizeof(Global{}), 128},
		"Node":    {unsafe.Sizeof(Node{}), 192},
		"Worker":  {unsafe.Sizeof(Worker{}), 512},
		"Flow":    {unsafe.Sizeof(Flow{}), 768},
		"Methods": {unsafe.Sizeof(Methods{}), 320},
		"cursor":  {unsafe.Sizeof(cursor{}), 64},
		"set":     {unsafe.Sizeof(set{}), 64},
		"slot":    {unsafe.Sizeof(slot{}), 64},
	} {
		if got[0] != got[1] {
			t.Errorf("%s takes %d bytes, want %d", name, got[0], got[1])
		}
	}
}

func TestRegionsDoNotOverlap(t *testing.T) {
	for _, l := range []Layout{{1, 64}, {3, 128}, {11, 131072}, {MaxWorkers, MaxSources}} {
		p := l.plan()
		at := uintptr(pageSize)
		for _, r := range []struct {
			name  string
			start uintptr
			bytes uintptr
		}{
			{"global", p.global, unsafe.Sizeof(Global{})},
			{"nodes", p.nodes, MaxNodes * unsafe.Sizeof(Node{})},
			{"turns", p.turns, unsafe.Sizeof(Turns{})},
			{"workers", p.workers, uintptr(l.Workers) * unsafe.Sizeof(Worker{})},
			{"flows", p.flows, uintptr(l.Workers) * MaxNodes * unsafe.Sizeof(Flow{})},
			{"methods", p.methods, uintptr(l.Workers) * unsafe.Sizeof(Methods{})},
			{"tools", p.tools, toolRates * 8},
			{"cursor", p.cursor, unsafe.Sizeof(cursor{})},
			{"index", p.index, uintptr(2*l.Sources) * 4},
			{"slots", p.slots, uintptr(l.allSlots()) * 64},
			{"rows", p.rows, uintptr(l.Workers*l.allSlots()) * 4},
		} {
			if r.start != at {
				t.Errorf("%v: %s starts at %d, want %d", l, r.name, r.start, at)
			}
			at = (r.start + r.bytes + pageSize - 1) &^ (pageSize - 1)
		}
		if p.size != at || p.size > maxSize {
			t.Errorf("%v: %d bytes, want %d and no more than %d", l, p.size, at, uint64(maxSize))
		}
	}
}

func TestLayoutIsChecked(t *testing.T) {
	for _, l := range []Layout{{0, 64}, {-1, 64}, {MaxWorkers + 1, 64}, {1, 0}, {1, MaxSources + 1}} {
		if b, err := Create(l); err == nil {
			closeBoard(t, b)
			t.Errorf("Create(%+v) succeeded", l)
		}
	}
	b := newBoard(t, Layout{Workers: 2, Sources: 1000})
	if got := b.Layout(); got != (Layout{Workers: 2, Sources: 1024}) {
		t.Errorf("layout %+v", got)
	}
}

func TestOpenSeesWhatTheMakerWrites(t *testing.T) {
	a := newBoard(t, Layout{Workers: 3, Sources: 100})
	b, err := Open(a.File())
	if err != nil {
		t.Fatal(err)
	}
	defer closeBoard(t, b)
	if a.Layout() != b.Layout() || a.Global().Seed != b.Global().Seed || a.Global().Seed == 0 {
		t.Fatalf("layouts %v %v, seeds %x %x", a.Layout(), b.Layout(), a.Global().Seed, b.Global().Seed)
	}
	if b.File() != nil {
		t.Error("an opened board has a file")
	}
	a.Flow(2, 63).BytesOut.Add(7)
	b.Worker(1).Refused[ReasonRate].Add(3)
	if got := b.NodeTotals(63).BytesOut; got != 7 {
		t.Errorf("bytes out %d, want 7", got)
	}
	if got := a.Worker(1).Refused[ReasonRate].Load(); got != 3 {
		t.Errorf("refused %d, want 3", got)
	}
	id := a.Sources().Find(ip("192.0.2.1"), 1)
	if got, ok := b.Sources().Lookup(ip("192.0.2.1")); !ok || got != id {
		t.Errorf("the other mapping finds slot %d %v, want %d", got, ok, id)
	}
}

func TestOpenRefusesWhatIsNoBoard(t *testing.T) {
	good := newBoard(t, Layout{Workers: 2, Sources: 64})
	image := make([]byte, len(good.mem))
	copy(image, good.mem)

	for name, spoil := range map[string]func([]byte) []byte{
		"empty":         func(b []byte) []byte { return nil },
		"short":         func(b []byte) []byte { return b[:100] },
		"cut":           func(b []byte) []byte { return b[:len(b)-pageSize] },
		"longer":        func(b []byte) []byte { return append(b, make([]byte, pageSize)...) },
		"zero":          func(b []byte) []byte { clear(b); return b },
		"magic":         func(b []byte) []byte { b[0]++; return b },
		"version":       func(b []byte) []byte { b[8]++; return b },
		"workers":       func(b []byte) []byte { b[12]++; return b },
		"no workers":    func(b []byte) []byte { b[12] = 0; return b },
		"odd sources":   func(b []byte) []byte { b[16]++; return b },
		"huge sources":  func(b []byte) []byte { binary.NativeEndian.PutUint32(b[16:], 1<<31); return b },
		"cell sizes":    func(b []byte) []byte { b[20]++; return b },
		"size":          func(b []byte) []byte { b[24]++; return b },
		"overflow size": func(b []byte) []byte { binary.NativeEndian.PutUint64(b[24:], 1<<63); return b },
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(spoil(append([]byte(nil), image...))); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(f); !errors.Is(err, ErrFormat) {
				t.Fatalf("error %v, want ErrFormat", err)
			}
		})
	}
}

func FuzzOpenHeader(f *testing.F) {
	b := newBoard(f, Layout{Workers: 1, Sources: 64})
	f.Add(append([]byte(nil), b.mem[:unsafe.Sizeof(header{})]...), len(b.mem))
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		buf := make([]byte, unsafe.Sizeof(header{})+cacheLine)
		off := -uintptr(unsafe.Pointer(&buf[0])) % cacheLine
		copy(buf[off:], raw[:min(len(raw), int(unsafe.Sizeof(header{})))])
		l, p, err := headerOf(buf[off:]).check(size)
		if err == nil && (int(p.size) != size || l.plan() != p) {
			t.Fatalf("accepted %+v of %d bytes for a file of %d", l, p.size, size)
		}
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatalf("error %v is not ErrFormat", err)
		}
	})
}
