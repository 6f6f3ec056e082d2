package node

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/sharedmem"
)

// tally counts the clients connected to each worker, in memory that the workers and the primary share. A
// worker writes its own cell only; the primary clears the cell of a worker that died.
type tally struct {
	cells []*cell
	mem   []byte
}

// cell has a cache line for itself.
type cell struct {
	connections atomic.Int64
	_           [56]byte
}

// createTally returns a tally for workers, and the file through which they open it.
func createTally(workers int) (*tally, *os.File, error) {
	f, err := sharedmem.Create("erlmcp-node", tallySize(workers))
	if err != nil {
		return nil, nil, err
	}
	t, err := openTally(f, workers)
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return t, f, nil
}

// openTally maps the tally of a file, which may be closed afterwards.
func openTally(f *os.File, workers int) (*tally, error) {
	mem, err := sharedmem.Map(f, tallySize(workers))
	if err != nil {
		return nil, err
	}
	t := &tally{mem: mem}
	for i := range workers {
		t.cells = append(t.cells, (*cell)(unsafe.Pointer(&mem[i*int(unsafe.Sizeof(cell{}))])))
	}
	return t, nil
}

func tallySize(workers int) int64 { return int64(workers) * int64(unsafe.Sizeof(cell{})) }

// total is the number of connections of all workers.
func (t *tally) total() (n int64) {
	for _, c := range t.cells {
		n += c.connections.Load()
	}
	return n
}

// of returns the counter of a worker.
func (t *tally) of(worker int) *atomic.Int64 { return &t.cells[worker].connections }

// close unmaps; the tally must not be used any more.
func (t *tally) close() error { return os.NewSyscallError("munmap", unix.Munmap(t.mem)) }
