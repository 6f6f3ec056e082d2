package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// host reads /proc and /sys. What cannot be read stays unknown.
func host(f *Facts) {
	k := &f.Kernel
	scan("/proc/sys/fs/nr_open", &k.NrOpen)
	scan("/proc/sys/net/core/somaxconn", &k.SoMaxConn)
	scan("/proc/sys/net/ipv4/tcp_max_syn_backlog", &k.SynBacklog)
	var low, pressure int64
	scan("/proc/sys/net/ipv4/tcp_mem", &low, &pressure, &k.TCPMemoryPages)
	k.PageSize = int64(os.Getpagesize())
	k.TCPMemoryUsed = tcpMemory()
	k.Ping = mayPing()
	f.Processes = processes()
	if source, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource"); err == nil {
		f.ClockSource = strings.TrimSpace(string(source))
	}
	// A control group has less than the machine.
	group := "/sys/fs/cgroup" + controlGroup()
	for ; strings.HasPrefix(group, "/sys/fs/cgroup"); group = filepath.Dir(group) {
		var most, used int64
		if scan(group+"/memory.max", &most) && scan(group+"/memory.current", &used) {
			f.Machine.MemoryAvailable = min(f.Machine.MemoryAvailable, max(most-used, 1))
		}
		if scan(group+"/pids.max", &most) && scan(group+"/pids.current", &used) && most-used < f.Processes.Max-f.Processes.Used {
			f.Processes = Processes{Max: most, Used: used, From: "pids.max of the cgroup"}
		}
	}
}

// controlGroup is the path of ours in the unified hierarchy.
func controlGroup() string {
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return strings.TrimSuffix(path, "/")
		}
	}
	return ""
}

func processes() Processes {
	var pids, threads int64
	scan("/proc/sys/kernel/pid_max", &pids)
	scan("/proc/sys/kernel/threads-max", &threads)
	p := Processes{Max: pids, From: "kernel.pid_max"}
	if threads > 0 && (threads < pids || pids == 0) {
		p.Max, p.From = threads, "kernel.threads-max"
	}
	// The fourth field of loadavg is "running/all": threads, of the whole machine.
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 3 {
			var running int64
			_, _ = fmt.Sscanf(fields[3], "%d/%d", &running, &p.Used)
		}
	}
	return p
}

// tcpMemory is how many pages the buffers of TCP sockets take now.
func tcpMemory() int64 {
	text, _ := os.ReadFile("/proc/net/sockstat")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "TCP:" {
			if i := slices.Index(fields, "mem"); i > 0 && i+1 < len(fields) {
				var pages int64
				_, _ = fmt.Sscan(fields[i+1], &pages)
				return pages
			}
		}
	}
	return 0
}

// mayPing looks whether a group of ours is in the range that may have sockets for echo requests. The
// superuser needs none.
func mayPing() Ping {
	if os.Geteuid() == 0 {
		return PingAllowed
	}
	var low, high int64
	if !scan("/proc/sys/net/ipv4/ping_group_range", &low, &high) {
		return PingUnknown
	}
	groups, _ := os.Getgroups()
	for _, g := range append(groups, os.Getegid()) {
		if low <= int64(g) && int64(g) <= high {
			return PingAllowed
		}
	}
	return PingForbidden
}

// scan reads the numbers a file begins with.
func scan(path string, into ...*int64) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	fields := strings.Fields(string(text))
	for i, p := range into {
		if i >= len(fields) {
			return false
		}
		if _, err := fmt.Sscan(fields[i], p); err != nil {
			return false
		}
	}
	return true
}
