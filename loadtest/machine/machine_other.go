//go:build !linux

package machine

import (
	"github.com/shirou/gopsutil/v4/mem"
	"golang.org/x/sys/unix"
)

// This asks sysctl. What it does not know stays unknown, and so does what depends on a plan.
func This() Facts {
	h := Facts{Cores: usableCores(0), MemoryAvailable: MemoryAvailable()}
	first, err := unix.SysctlUint32("net.inet.ip.portrange.first")
	if err == nil {
		if last, err := unix.SysctlUint32("net.inet.ip.portrange.last"); err == nil && last >= first {
			h.EphemeralPorts = int(last-first) + 1
		}
	}
	if most, err := unix.SysctlUint32("kern.maxfiles"); err == nil {
		h.FilesMax = int64(most)
	}
	if used, err := unix.SysctlUint32("kern.num_files"); err == nil {
		h.FilesUsed = int64(used)
	}
	return h
}

// MemoryAvailable is how many bytes can be had without swapping, 0 if that is not known.
func MemoryAvailable() int64 {
	m, err := mem.VirtualMemory()
	if err != nil {
		return 0
	}
	return int64(m.Available)
}
