//go:build !linux

package loadtest

import (
	"slices"
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

// processGroups lists the processes of groups.
func processGroups(leaders []int) []int {
	return processesWith(leaders, unix.Getpgid)
}

// childrenOf lists the processes that others have started.
func childrenOf(parents []int) []int {
	return processesWith(parents, func(pid int) (int, error) {
		parent, err := (&process.Process{Pid: int32(pid)}).Ppid()
		return int(parent), err
	})
}

// processesWith lists the processes of which something is one of some numbers.
func processesWith(numbers []int, of func(pid int) (int, error)) []int {
	if len(numbers) == 0 {
		return nil
	}
	pids, err := process.Pids()
	if err != nil {
		return nil
	}
	var members []int
	for _, pid := range pids {
		if n, err := of(int(pid)); err == nil && slices.Contains(numbers, n) {
			members = append(members, int(pid))
		}
	}
	return members
}
