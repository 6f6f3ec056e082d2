package machine

import (
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// Host is the machine of the coordinator.
type Host struct {
	OS          string `json:"os"`
	Kernel      string `json:"kernel"`
	Arch        string `json:"arch"`
	CPU         string `json:"cpu"`
	CPUs        int    `json:"cpus"`
	MemoryBytes int64  `json:"memory_bytes"`
	Descriptors uint64 `json:"descriptors"` // hard limit of a process
}

// Describe says which machine this is. What cannot be known stays empty.
func Describe(descriptors uint64) Host {
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
