package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/cgroup"
	"github.com/erlmcp/erlmcp/internal/proc"
)

// threads finds the tightest limit of processes and threads.
func threads(groups cgroup.Quantity) Threads {
	var pids, all int64
	proc.Scan("/proc/sys/kernel/pid_max", &pids)
	proc.Scan("/proc/sys/kernel/threads-max", &all)
	t := Threads{Max: pids, From: "kernel.pid_max"}
	if all > 0 && (all < pids || pids == 0) {
		t.Max, t.From = all, "kernel.threads-max"
	}
	// The fourth field of loadavg is "running/all": threads, of the whole machine.
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 3 {
			var running int64
			_, _ = fmt.Sscanf(fields[3], "%d/%d", &running, &t.Used)
		}
	}
	if groups.From != "" {
		t = t.tighter(Threads(groups))
	}
	return t.tighter(ofUser())
}

// ofUser is the limit of the user's processes and threads (ulimit -u), which does not bind the superuser.
func ofUser() Threads {
	var limit unix.Rlimit
	uid := os.Geteuid()
	if uid == 0 || unix.Getrlimit(unix.RLIMIT_NPROC, &limit) != nil || limit.Cur > 1<<40 {
		return Threads{}
	}
	t := Threads{Max: int64(limit.Cur), From: "ulimit -u"}
	processes, _ := filepath.Glob("/proc/[0-9]*/task")
	for _, tasks := range processes {
		info, err := os.Stat(tasks)
		if err != nil {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) == uid {
			entries, _ := os.ReadDir(tasks)
			t.Used += int64(len(entries))
		}
	}
	return t
}
