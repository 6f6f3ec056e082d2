package machine

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/erlmcp/erlmcp/internal/cgroup"
	"github.com/erlmcp/erlmcp/internal/proc"
)

// This reads /proc. What cannot be read stays unknown, and so does what depends on a plan.
func This() Facts {
	var h Facts
	var low, high, unused int64
	if proc.Scan("/proc/sys/net/ipv4/ip_local_port_range", &low, &high) {
		h.EphemeralPorts = int(high - low + 1)
	}
	proc.Scan("/proc/sys/fs/file-nr", &h.FilesUsed, &unused, &h.FilesMax)
	proc.Scan("/proc/sys/fs/nr_open", &h.DescriptorsMax)
	// A loaded module tracks nothing until a rule asks for it, and then at least the connection
	// that preflight has just made.
	if proc.Scan("/proc/sys/net/netfilter/nf_conntrack_count", &h.ConntrackUsed) && h.ConntrackUsed > 0 {
		proc.Scan("/proc/sys/net/netfilter/nf_conntrack_max", &h.ConntrackMax)
	}
	groups := cgroup.Read()
	h.MemoryAvailable, h.MemoryFrom = available(groups.Memory)
	h.Threads = threads(groups.Pids)
	h.CPUs, h.CPUsFrom = groups.CPUs, groups.CPUFrom
	h.Cores = usableCores(h.CPUs)
	return h
}

// MemoryAvailable is how many bytes can be had without swapping, 0 if that is not known.
func MemoryAvailable() int64 {
	bytes, _ := available(cgroup.Read().Memory)
	return bytes
}

// available is the lesser of what the machine and the control groups have left; from is the groups' file if it is theirs.
func available(groups cgroup.Quantity) (bytes int64, from string) {
	bytes = machineMemory()
	if groups.From != "" && (bytes == 0 || groups.Left() < bytes) {
		return max(groups.Left(), 1), groups.From
	}
	return bytes, ""
}

// machineMemory is how many bytes the machine has available, 0 if that is not known.
func machineMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			var kilobytes int64
			_, _ = fmt.Sscan(text, &kilobytes)
			return kilobytes << 10
		}
	}
	return 0
}
