package doctor

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/proc"
)

// host reads /proc and /sys. What cannot be read stays unknown.
func host(f *Facts) {
	k := &f.Kernel
	proc.Scan("/proc/sys/net/core/somaxconn", &k.SoMaxConn)
	proc.Scan("/proc/sys/net/ipv4/tcp_max_syn_backlog", &k.SynBacklog)
	var low, pressure int64
	proc.Scan("/proc/sys/net/ipv4/tcp_mem", &low, &pressure, &k.TCPMemoryPages)
	k.PageSize = int64(os.Getpagesize())
	k.TCPMemoryUsed = tcpMemory()
	k.Ping = mayPing()
	if source, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource"); err == nil {
		f.ClockSource = strings.TrimSpace(string(source))
	}
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
	if !proc.Scan("/proc/sys/net/ipv4/ping_group_range", &low, &high) {
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
