package board

import (
	"net/netip"
	"sync/atomic"
)

// toolRates is how many cells the rates of tools have. Which of them is a source's for a tool is a
// matter of hashes, and not remembered: two that meet in one share its rate, which makes it stricter
// for both and never laxer. With a thousand pairs busy at a time, one in sixteen shares.
const toolRates = 1 << 14

// ToolRate is the tat of a tool's calls by a source, for Charge. tool is a hash of its name. Written
// by any worker.
func (b *Board) ToolRate(source netip.Addr, tool uint64) *atomic.Int64 {
	h := &b.sources.hasher
	return &b.tools[h.hash(h.hash(keyOf(source))^tool)%toolRates]
}
