package machine

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// ReadLoad reads /proc/stat (proc_stat(5)) and /proc/net/netstat.
func ReadLoad() Load {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Load{}
	}
	m, ok := parseStat(string(stat))
	if !ok {
		return Load{}
	}
	if netstat, err := os.ReadFile("/proc/net/netstat"); err == nil {
		m.listenDrops = netstatValue(string(netstat), "TcpExt", "ListenDrops")
	}
	return m
}

// parseStat reads the first line: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice. The last two are
// in the first two.
func parseStat(text string) (m Load, ok bool) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return m, false
	}
	const userHz = 100
	var ticks [8]time.Duration
	for i := range ticks {
		n, err := strconv.ParseInt(fields[1+i], 10, 64)
		if err != nil {
			return m, false
		}
		ticks[i] = time.Duration(n) * time.Second / userHz
		m.total += ticks[i]
	}
	m.known, m.idle, m.softirq, m.steal = true, ticks[3]+ticks[4], ticks[6], ticks[7]
	return m, true
}

// netstatValue finds a counter: a line of names is followed by a line of values, both beginning with the group's name.
func netstatValue(text, group, name string) int64 {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != group+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, n := range names {
			if n == name && i < len(fields) {
				value, _ := strconv.ParseInt(fields[i], 10, 64)
				return value
			}
		}
	}
	return 0
}
