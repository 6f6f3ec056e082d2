package cgroup

import (
	"testing"
	"testing/fstest"
)

func files(texts map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range texts {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

const (
	v2Mount = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	v1Mount = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"40 31 0:37 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Limits
	}{
		{"nothing", nil, Limits{}},
		{"version 2, the tightest of all levels", map[string]string{
			"proc/self/cgroup":                   "0::/app.slice/erlmcp.service\n",
			"proc/self/mountinfo":                "1 0 8:1 / / rw - ext4 /dev/sda rw\n" + v2Mount,
			"sys/fs/cgroup/memory.max":           "max\n",
			"sys/fs/cgroup/app.slice/memory.max": "1000000\n", "sys/fs/cgroup/app.slice/memory.current": "900000\n",
			"sys/fs/cgroup/app.slice/memory.stat":               "anon 5\ninactive_file 300000\nactive_file 100000\n",
			"sys/fs/cgroup/app.slice/erlmcp.service/memory.max": "900000\n", "sys/fs/cgroup/app.slice/erlmcp.service/memory.current": "1\n",
			"sys/fs/cgroup/app.slice/erlmcp.service/pids.max": "64\n", "sys/fs/cgroup/app.slice/erlmcp.service/pids.current": "14\n",
			"sys/fs/cgroup/app.slice/pids.max": "max\n", "sys/fs/cgroup/app.slice/pids.current": "99\n",
			"sys/fs/cgroup/app.slice/cpu.max":                "50000 100000\n",
			"sys/fs/cgroup/app.slice/erlmcp.service/cpu.max": "max 100000\n",
		}, Limits{
			Memory: Quantity{1000000, 500000, "/sys/fs/cgroup/app.slice/memory.max"},
			Pids:   Quantity{64, 14, "/sys/fs/cgroup/app.slice/erlmcp.service/pids.max"},
			CPUs:   0.5, CPUFrom: "/sys/fs/cgroup/app.slice/cpu.max",
		}},
		{"version 1", map[string]string{
			"proc/self/cgroup":                                "12:pids:/job\n5:memory:/job\n2:cpu,cpuacct:/\n1:name=systemd:/job\n",
			"proc/self/mountinfo":                             v1Mount,
			"sys/fs/cgroup/memory/memory.limit_in_bytes":      "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes":      "5\n",
			"sys/fs/cgroup/memory/job/memory.limit_in_bytes":  "4096\n",
			"sys/fs/cgroup/memory/job/memory.usage_in_bytes":  "4000\n",
			"sys/fs/cgroup/memory/job/memory.stat":            "inactive_file 1\ntotal_inactive_file 600\ntotal_active_file 400\n",
			"sys/fs/cgroup/pids/job/pids.max":                 "20\n",
			"sys/fs/cgroup/pids/job/pids.current":             "30\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":      "150000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":     "100000\n",
			"sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us":  "1\n", // not ours
			"sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "1\n",
		}, Limits{
			Memory: Quantity{4096, 3000, "/sys/fs/cgroup/memory/job/memory.limit_in_bytes"},
			Pids:   Quantity{20, 30, "/sys/fs/cgroup/pids/job/pids.max"},
			CPUs:   1.5, CPUFrom: "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us",
		}},
		{"both, in a container that sees the host's names", map[string]string{
			"proc/self/cgroup": "4:memory:/docker/abc\n3:pids:/docker/abc\n0::/docker/abc\n",
			"proc/self/mountinfo": "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n" +
				"40 31 0:37 /other /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n" +
				"41 31 0:38 / /sys/fs/cgroup/uni\\040fied ro - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "10\n",
			"sys/fs/cgroup/pids/pids.max": "7\n", "sys/fs/cgroup/pids/pids.current": "2\n",
			"sys/fs/cgroup/uni fied/docker/abc/cpu.max": "-1 100000\n",
		}, Limits{
			Memory: Quantity{1000, 10, "/sys/fs/cgroup/memory/memory.limit_in_bytes"},
			Pids:   Quantity{7, 2, "/sys/fs/cgroup/pids/pids.max"},
		}},
		{"another group, mounted too", map[string]string{
			"proc/self/cgroup": "0::/app.service\n",
			"proc/self/mountinfo": "50 23 0:26 /other /run/first rw - cgroup2 cgroup2 rw\n" + v2Mount +
				"51 23 0:26 /app /run/app rw - cgroup2 cgroup2 rw\n",
			"run/first/pids.max": "1\n", "run/first/pids.current": "1\n", "run/app/pids.max": "2\n", "run/app/pids.current": "1\n",
			"run/app/.service/pids.max": "3\n", "run/app/.service/pids.current": "1\n",
			"sys/fs/cgroup/app.service/pids.max": "50\n", "sys/fs/cgroup/app.service/pids.current": "4\n",
		}, Limits{
			Pids: Quantity{50, 4, "/sys/fs/cgroup/app.service/pids.max"},
		}},
		{"nonsense", map[string]string{
			"proc/self/cgroup": "x\n0::\n:::\n", "proc/self/mountinfo": "a b c\n - \n" + v2Mount,
			"sys/fs/cgroup/memory.max": "-5\n", "sys/fs/cgroup/pids.max": "many\n", "sys/fs/cgroup/cpu.max": "1\n",
		}, Limits{}},
	} {
		if got := read(files(c.files)); got != c.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, got, c.want)
		}
	}
	if (Quantity{20, 30, "x"}).Left() != 0 {
		t.Error("less than nothing is left")
	}
}

// The smallest limit of all levels counts, not the one with least left, and also one that allows nothing.
func TestMaxPids(t *testing.T) {
	v2 := map[string]string{
		"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": v2Mount,
		"sys/fs/cgroup/a/b/pids.max": "40\n", "sys/fs/cgroup/a/b/pids.current": "1\n",
		"sys/fs/cgroup/a/pids.max": "50\n", "sys/fs/cgroup/a/pids.current": "49\n",
	}
	for _, c := range []struct {
		files map[string]string
		most  int64
		from  string
	}{
		{nil, 0, ""},
		{map[string]string{"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": v2Mount, "sys/fs/cgroup/a/pids.max": "max\n"}, 0, ""},
		{v2, 40, "/sys/fs/cgroup/a/b/pids.max"},
		{map[string]string{"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": v2Mount, "sys/fs/cgroup/a/pids.max": "0\n"}, 0, "/sys/fs/cgroup/a/pids.max"},
		{map[string]string{"proc/self/cgroup": "3:pids:/job\n", "proc/self/mountinfo": v1Mount, "sys/fs/cgroup/pids/job/pids.max": "7\n"}, 7, "/sys/fs/cgroup/pids/job/pids.max"},
	} {
		if most, from := maxPids(files(c.files)); most != c.most || from != c.from {
			t.Errorf("got %d of %q, want %d of %q", most, from, c.most, c.from)
		}
	}
}

// FuzzRead reads any text in place of what the kernel says.
func FuzzRead(f *testing.F) {
	f.Add("0::/a/b\n", v2Mount, "100", "max 100000")
	f.Add("5:memory:/job\n", v1Mount, "9223372036854771712", "-1")
	f.Fuzz(func(t *testing.T, groups, mounts, limit, quota string) {
		l := read(files(map[string]string{
			"proc/self/cgroup": groups, "proc/self/mountinfo": mounts,
			"sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory.current": limit, "sys/fs/cgroup/cpu.max": quota,
		}))
		if l.Memory.Max < 0 || l.CPUs < 0 || (l.Memory.From == "") != (l.Memory.Max == 0) {
			t.Fatalf("%+v", l)
		}
	})
}
