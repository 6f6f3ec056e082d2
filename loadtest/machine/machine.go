// Package machine is what a load test knows of the machine that it runs on: what is there, what is left of it, and how busy it is.
package machine

import (
	"fmt"
	"math"
	"runtime"
	"strings"

	"github.com/erlmcp/erlmcp/internal/judge"
)

// Facts is what a preflight looks at on the machine itself, for those who want to know before
// anything runs. Zero means not known, or no limit.
type Facts struct {
	Cores           int
	Descriptors     uint64 // hard limit of a process
	DescriptorsMax  int64  // that it may be raised to
	EphemeralPorts  int    // for one pair of source and destination
	MemoryAvailable int64  // bytes
	FilesMax        int64  // open files of the whole machine
	FilesUsed       int64
	ConntrackMax    int64 // 0 when connections are not tracked
	ConntrackUsed   int64

	Threads    Threads
	MemoryFrom string  // the control group's file that limits memory, where that is less than the machine has
	CPUs       float64 // quota of a control group, 0 without one
	CPUsFrom   string

	SourceError error // why clients cannot connect from the addresses of the spec
}

// Threads are limits of processes and threads together.
type Threads struct {
	Max  int64 // 0: not known, or no limit
	Used int64
	From string // whose limit that is: "kernel.pid_max", "ulimit -u", or the file of a control group
}

// threadsPerProcess is what a copy of this program has at most: the Go runtime's and a few that wait.
const threadsPerProcess = 16

// Judge adds whether so many more processes of this program may run, if there is telling.
func (t Threads) Judge(l *judge.List, processes int, worst judge.Verdict) {
	if t.Max == 0 {
		return
	}
	need := int64(processes) * threadsPerProcess
	l.Judge("threads", t.Left() >= need, worst, fmt.Sprintf("%d left of %d (%s)", t.Left(), t.Max, t.From), fmt.Sprint(need), t.Fix(need))
}

// RaiseDescriptors is the command for as many as so many connections take.
func (m *Facts) RaiseDescriptors(connections int) string {
	need := max(int64(20_000), int64(connections)/8)
	fix := fmt.Sprintf("ulimit -Hn %d && ulimit -Sn %[1]d (as root; for a service LimitNOFILE=%[1]d)", need)
	if most := m.DescriptorsMax; most > 0 && most < need {
		fix = fmt.Sprintf("sudo sysctl -w fs.nr_open=%d && ", need) + fix
	}
	return fix
}

// Left is how many more there may be.
func (t Threads) Left() int64 { return max(t.Max-t.Used, 0) }

// OfKernel reports whether the limit is the machine's, not the user's or a control group's. Of such a one it cannot be told
// how much is used in a container.
func (t Threads) OfKernel() bool { return strings.HasPrefix(t.From, "kernel.") }

// Fix is how to have so many more.
func (t Threads) Fix(need int64) string {
	switch {
	case strings.HasPrefix(t.From, "/"):
		return fmt.Sprintf("raise the limit of the container or service to %d (docker run --pids-limit, TasksMax=)", RoundUp(t.Used+need))
	case strings.HasPrefix(t.From, "ulimit"):
		return fmt.Sprintf("%s %d (as root; for a service LimitNPROC=)", t.From, RoundUp(t.Used+need))
	}
	return fmt.Sprintf("sudo sysctl -w %s=%d", t.From, RoundUp(t.Used+need))
}

// tighter returns the one that has less left.
func (t Threads) tighter(other Threads) Threads {
	if t.Max == 0 || other.Max != 0 && other.Left() < t.Left() {
		return other
	}
	return t
}

// RoundUp is the next power of two: numbers that people meet in settings.
func RoundUp(n int64) int64 {
	up := int64(1)
	for up < n {
		up <<= 1
	}
	return up
}

// usableCores is how many processors there are for a process with that quota, 0 being none.
func usableCores(quota float64) int {
	if quota <= 0 {
		return runtime.NumCPU()
	}
	return max(min(runtime.NumCPU(), int(math.Ceil(quota))), 1)
}
