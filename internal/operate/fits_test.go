package operate

import (
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/loadtest/machine"
)

func TestProcessesFit(t *testing.T) {
	for _, c := range []struct {
		name string
		host machine.Facts
		text string // "" fits
		hint string
	}{
		{"nothing is known", machine.Facts{}, "", ""},
		{"room enough", machine.Facts{Threads: machine.Threads{Max: 100, Used: 20, From: "kernel.pid_max"}}, "", ""},
		{"limits of the kernel, which are doctor's", machine.Facts{Threads: machine.Threads{Max: 100, Used: 90, From: "kernel.pid_max"}}, "", ""},
		{"pids of a control group", machine.Facts{Threads: machine.Threads{Max: 100, Used: 21, From: "/sys/fs/cgroup/pids.max"}},
			"79 of 100 threads are left (/sys/fs/cgroup/pids.max), and 10 processes take at least 80", "TasksMax="},
		{"ulimit -u", machine.Facts{Threads: machine.Threads{Max: 100, Used: 200, From: "ulimit -u"}},
			"0 of 100 threads are left (ulimit -u), and 10 processes take at least 80", "LimitNPROC="},
		{"memory of a control group", machine.Facts{MemoryAvailable: 40 << 20, MemoryFrom: "/sys/fs/cgroup/memory.max"},
			"40 MiB of memory are left (/sys/fs/cgroup/memory.max), and 10 processes take at least 80", "MemoryMax="},
		{"memory of the machine, which has swap", machine.Facts{MemoryAvailable: 40 << 20}, "", ""},
	} {
		err := ProcessesFit(&c.host, 10)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != c.text || !strings.Contains(hintOf(err), c.hint) {
			t.Errorf("%s: %q, hint %q", c.name, text, hintOf(err))
		}
	}
}
