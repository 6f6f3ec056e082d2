package loadtest

import (
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// describeHost says which machine this is. What cannot be known stays empty.
func describeHost(descriptors uint64) Host {
	h := Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Descriptors: descriptors}
	h.Kernel, _ = host.KernelVersion()
	if list, err := cpu.Info(); err == nil && len(list) > 0 {
		h.CPU = list[0].ModelName
	}
	if m, err := mem.VirtualMemory(); err == nil {
		h.MemoryBytes = int64(m.Total)
	}
	return h
}
