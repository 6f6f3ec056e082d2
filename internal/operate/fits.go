package operate

import (
	"fmt"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/loadtest/machine"
)

// What a process of this program has and takes at the least.
const (
	threadsAtStart = 8
	bytesAtStart   = 8 << 20
)

// ProcessesFit reports what keeps so many more processes of this program from starting: limits of processes and threads of
// the user and of control groups, and the memory of a control group.
func ProcessesFit(m *machine.Facts, processes int) error {
	if t := m.Threads; t.Max > 0 && !t.OfKernel() && t.Left() < int64(processes)*threadsAtStart {
		need := int64(processes) * threadsAtStart
		return advice.With(fmt.Errorf("%d of %d threads are left (%s), and %d processes take at least %d", t.Left(), t.Max, t.From, processes, need), t.Fix(need))
	}
	if left, need := m.MemoryAvailable, int64(processes)*bytesAtStart; m.MemoryFrom != "" && left < need {
		return advice.With(fmt.Errorf("%d MiB of memory are left (%s), and %d processes take at least %d", left>>20, m.MemoryFrom, processes, need>>20),
			"raise the limit of the container or service (docker run --memory, MemoryMax=)")
	}
	return nil
}
