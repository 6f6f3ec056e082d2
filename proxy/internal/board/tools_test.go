package board

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestToolRates(t *testing.T) {
	b := newBoard(t, Layout{Workers: 2, Sources: 64})
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	cell := b.ToolRate(v4, 7)
	if b.ToolRate(v4, 7) != cell || b.ToolRate(netip.MustParseAddr("::ffff:192.0.2.1"), 7) != cell {
		t.Error("one source has two cells")
	}
	if b.ToolRate(v6, 7) != b.ToolRate(netip.MustParseAddr("2001:db8::2"), 7) {
		t.Error("a /64 is more than one source")
	}
	if ok, _ := Charge(cell, 1, 10, 10, 1); !ok {
		t.Error("the first call is over the rate")
	}
	if ok, wait := Charge(b.ToolRate(v4, 7), 1, 10, 10, 1); ok || wait != 10 {
		t.Errorf("the second conforms: %v, %v", ok, wait)
	}
	// Spread: of a thousand pairs most have a cell of their own.
	seen := make(map[any]bool)
	for i := range 100 {
		for tool := range uint64(10) {
			seen[b.ToolRate(netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", i)), tool)] = true
		}
	}
	if len(seen) < 900 {
		t.Errorf("1000 pairs share %d cells", len(seen))
	}
}

func TestMethodTotals(t *testing.T) {
	b := newBoard(t, Layout{Workers: 2, Sources: 64})
	b.Methods(0)[3].Add(2)
	b.Methods(1)[3].Add(5)
	b.Methods(1)[MaxMethods-1].Add(1)
	b.ClearWorker(1)
	totals := b.MethodTotals()
	if totals[3] != 7 || totals[MaxMethods-1] != 1 || totals[0] != 0 {
		t.Errorf("%v", totals)
	}
}
