// Package cgroup tells what the control groups that this process is in allow it. It reads both versions of the kernel's
// interface, and both at once where some controllers are of the one and some of the other. Elsewhere than on Linux, and
// where nothing can be read, nothing is limited.
package cgroup

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Quantity is a limit and how much of it is used, by all in the group. The zero Quantity is no limit.
type Quantity struct {
	Max, Used int64
	From      string // the file with the limit: "/sys/fs/cgroup/app/memory.max"
}

// Left is how much can still be had.
func (q Quantity) Left() int64 { return max(q.Max-q.Used, 0) }

// tighter returns the one that has less left.
func (q Quantity) tighter(other Quantity) Quantity {
	if q.From == "" || other.From != "" && other.Left() < q.Left() {
		return other
	}
	return q
}

// Limits are the tightest of all groups from this process's own up to the root.
type Limits struct {
	Memory Quantity // bytes; pages of files, which can be dropped, do not count
	Pids   Quantity // processes and threads
	// CPUs is how many processors' time there is, as in 0.5; 0 is no quota. CPUFrom is the file that says so.
	CPUs    float64
	CPUFrom string
}

// read looks at the groups of the process; root is the file system from / on.
func read(root fs.FS) Limits {
	r := reader{root}
	var l Limits
	for controller, dirs := range r.groups() {
		for _, dir := range dirs {
			switch controller {
			case unified:
				l.Memory = l.Memory.tighter(r.memory(dir, "memory.max", "memory.current", ""))
				l.Pids = l.Pids.tighter(r.quantity(dir, "pids.max", "pids.current"))
				l.quota(r.words(dir, "cpu.max"), path.Join(dir, "cpu.max"))
			case "memory":
				l.Memory = l.Memory.tighter(r.memory(dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"))
			case "pids":
				l.Pids = l.Pids.tighter(r.quantity(dir, "pids.max", "pids.current"))
			case "cpu":
				const quota, period = "cpu.cfs_quota_us", "cpu.cfs_period_us"
				l.quota(append(r.words(dir, quota), r.words(dir, period)...), path.Join(dir, quota))
			}
		}
	}
	return l
}

// maxPids is how many processes and threads all groups allow, whatever there are, and the file that says so; "" is no limit.
func maxPids(root fs.FS) (most int64, from string) {
	r := reader{root}
	groups := r.groups()
	for _, dir := range slices.Concat(groups[unified], groups["pids"]) {
		name := path.Join(dir, "pids.max")
		var n int64
		if r.number(name, &n) && n >= 0 && (from == "" || n < most) {
			most, from = n, "/"+name
		}
	}
	return most, from
}

// quota takes a quota of processor time and the period it is for, in microseconds, if it is the tightest yet.
func (l *Limits) quota(words []string, from string) {
	if len(words) != 2 {
		return
	}
	quota, err := strconv.ParseFloat(words[0], 64) // "max" and -1 are none
	period, err2 := strconv.ParseFloat(words[1], 64)
	if err != nil || err2 != nil || quota <= 0 || period <= 0 {
		return
	}
	if cpus := quota / period; l.CPUs == 0 || cpus < l.CPUs {
		l.CPUs, l.CPUFrom = cpus, "/"+from
	}
}

// unified stands for the second version, where one hierarchy has all controllers.
const unified = ""

type reader struct{ root fs.FS }

// groups lists the directories of the groups of this process by controller, its own first and the root last. Of several
// mounts of a hierarchy, one that shows the process's group counts.
func (r reader) groups() map[string][]string {
	own := make(map[string]string)
	for line := range strings.Lines(r.text("proc/self/cgroup")) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(controllers, ",") {
			own[name] = group
		}
	}
	dirs, shown := make(map[string][]string), make(map[string]bool)
	for line := range strings.Lines(r.text("proc/self/mountinfo")) {
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		fields, types := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(types) < 3 {
			continue
		}
		root, mount := fields[3], strings.TrimPrefix(Unescape(fields[4]), "/")
		controllers := []string{unified}
		switch types[0] {
		case "cgroup2":
		case "cgroup":
			controllers = strings.Split(types[2], ",") // of the super block; options that are none are in no group
		default:
			continue
		}
		for _, name := range controllers {
			group, ok := own[name]
			below, shows := within(group, Unescape(root))
			if ok && (shows || !shown[name]) {
				dirs[name], shown[name] = upTo(mount, below), shows
			}
		}
	}
	return dirs
}

// within is a group as seen where a hierarchy is mounted from root on; a group that it does not show, as in a container that
// sees the host's names, is the root itself.
func within(group, root string) (below string, shows bool) {
	below, shows = strings.CutPrefix(group+"/", strings.TrimSuffix(root, "/")+"/")
	if !shows || strings.HasPrefix(group, "/..") {
		return "", false
	}
	return strings.Trim(below, "/"), true
}

// upTo lists mount/group and all directories above it down to mount.
func upTo(mount, group string) []string {
	var dirs []string
	for ; group != "" && group != "."; group = path.Dir(group) {
		dirs = append(dirs, path.Join(mount, group))
	}
	return append(dirs, mount)
}

// Unescape undoes the octal escapes of mountinfo.
func Unescape(name string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(name)
}

// noLimit is more than any limit that is meant as one.
const noLimit = 1 << 60

func (r reader) quantity(dir, most, used string) Quantity {
	q := Quantity{From: "/" + path.Join(dir, most)}
	if !r.number(path.Join(dir, most), &q.Max) || q.Max <= 0 || q.Max > noLimit || !r.number(path.Join(dir, used), &q.Used) {
		return Quantity{}
	}
	return q
}

// memory is a quantity without what the kernel can drop: pages of files, the fields of memory.stat with a prefix.
func (r reader) memory(dir, most, used, prefix string) Quantity {
	q := r.quantity(dir, most, used)
	if q.From == "" {
		return q
	}
	for line := range strings.Lines(r.text(path.Join(dir, "memory.stat"))) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == prefix+"inactive_file" || name == prefix+"active_file" {
			n, _ := strconv.ParseInt(value, 10, 64)
			q.Used = max(q.Used-n, 0)
		}
	}
	return q
}

func (r reader) number(name string, n *int64) bool {
	_, err := fmt.Sscan(r.text(name), n)
	return err == nil
}

func (r reader) words(dir, name string) []string { return strings.Fields(r.text(path.Join(dir, name))) }

// text is a file's, "" if it cannot be read.
func (r reader) text(name string) string {
	text, err := fs.ReadFile(r.root, name)
	if err != nil {
		return ""
	}
	return string(text)
}
