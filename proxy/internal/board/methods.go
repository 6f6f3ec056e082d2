package board

import "sync/atomic"

// MaxMethods is how many MCP methods are counted one by one. What each number stands for is not the
// board's business.
const MaxMethods = 40

// Methods is the cell of what one worker was asked for over HTTP, by method. Written by that worker.
// Counters are only ever added to, as in Worker.
type Methods [MaxMethods]atomic.Uint64

// Methods is the cell of worker w, 0 ≤ w < Layout.Workers.
func (b *Board) Methods(w int) *Methods { return &b.methods[w] }

// MethodTotals adds up what all workers, the living and the dead, were asked for.
func (b *Board) MethodTotals() (totals [MaxMethods]uint64) {
	for w := range b.Rows() {
		for i := range totals {
			totals[i] += b.methods[w][i].Load()
		}
	}
	return totals
}
