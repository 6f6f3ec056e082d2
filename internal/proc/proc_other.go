//go:build !linux

package proc

import (
	"slices"
	"time"

	"github.com/shirou/gopsutil/v4/process"
	"golang.org/x/sys/unix"
)

// Read asks gopsutil. Descriptors stay 0 where it cannot count them.
func Read(pid int) (State, error) {
	var s State
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return s, err
	}
	m, err := p.MemoryInfo()
	if err != nil {
		return s, err
	}
	s.RSS = int64(m.RSS)
	if t, err := p.Times(); err == nil {
		s.CPU = time.Duration((t.User + t.System) * float64(time.Second))
	}
	if n, err := p.NumFDs(); err == nil {
		s.Descriptors = int(n)
	}
	return s, nil
}

// InGroups lists the processes of groups.
func InGroups(leaders []int) []int {
	return with(leaders, unix.Getpgid)
}

// ChildrenOf lists the processes that others have started.
func ChildrenOf(parents []int) []int {
	return with(parents, func(pid int) (int, error) {
		parent, err := (&process.Process{Pid: int32(pid)}).Ppid()
		return int(parent), err
	})
}

// with lists the processes of which something is one of some numbers.
func with(numbers []int, of func(pid int) (int, error)) []int {
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
