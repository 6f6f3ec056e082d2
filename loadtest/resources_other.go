//go:build !linux

package loadtest

import (
	"time"

	"github.com/shirou/gopsutil/v4/process"
	"golang.org/x/sys/unix"
)

// readProcess asks gopsutil. Descriptors stay 0 where it cannot count them.
func readProcess(pid int) (processState, error) {
	var s processState
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return s, err
	}
	m, err := p.MemoryInfo()
	if err != nil {
		return s, err
	}
	s.rss = int64(m.RSS)
	if t, err := p.Times(); err == nil {
		s.cpu = time.Duration((t.User + t.System) * float64(time.Second))
	}
	if n, err := p.NumFDs(); err == nil {
		s.descriptors = int(n)
	}
	return s, nil
}

// processGroup lists the processes of a group.
func processGroup(leader int) []int {
	pids, err := process.Pids()
	if err != nil {
		return nil
	}
	var members []int
	for _, pid := range pids {
		if group, err := unix.Getpgid(int(pid)); err == nil && group == leader {
			members = append(members, int(pid))
		}
	}
	return members
}
