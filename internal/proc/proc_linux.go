package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Read reads /proc. It fails where a process has ended.
func Read(pid int) (State, error) {
	var p State
	_, fields, err := Stat(pid)
	if err != nil {
		return p, err
	}
	var user, system, pages int64
	// Fields of proc_pid_stat(5), counted from the state, the third: utime 14, stime 15, rss 24.
	if _, err := fmt.Sscan(fields[11], &user); err != nil {
		return p, err
	}
	if _, err := fmt.Sscan(fields[12], &system); err != nil {
		return p, err
	}
	if _, err := fmt.Sscan(fields[21], &pages); err != nil {
		return p, err
	}
	const userHz = 100 // of the kernel's interface, on every architecture Go runs on
	p.CPU = time.Duration(user+system) * time.Second / userHz
	p.RSS = pages * int64(os.Getpagesize())
	p.Descriptors = descriptors(fmt.Sprintf("/proc/%d/fd", pid))
	return p, nil
}

// descriptors counts the open files of a process. Linux 6.2 and newer tell it as the directory's
// size; reading tens of thousands of entries takes a while.
func descriptors(dir string) int {
	if info, err := os.Stat(dir); err == nil && info.Size() > 0 {
		return int(info.Size())
	}
	d, err := os.Open(dir)
	if err != nil {
		return 0
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return len(names)
}

// Stat reads /proc/PID/stat, "PID (NAME) STATE PARENT GROUP …", where name can hold anything. fields are at least 22, from
// the state on, the third of proc_pid_stat(5). It fails where a process has ended.
func Stat(pid int) (name string, fields []string, err error) {
	file := fmt.Sprintf("/proc/%d/stat", pid)
	text, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open >= 0 && open < end {
		fields = strings.Fields(string(text[end+1:]))
	}
	if len(fields) < 22 {
		return "", nil, errors.New("unreadable " + file)
	}
	return string(text[open+1 : end]), fields, nil
}

// PIDs lists all processes that can be seen, in no order.
func PIDs() (pids []int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// InGroups lists the processes of groups.
func InGroups(leaders []int) []int {
	const pgrp = 2 // of the fields behind the name
	return with(pgrp, leaders)
}

// ChildrenOf lists the processes that others have started.
func ChildrenOf(parents []int) []int {
	const ppid = 1
	return with(ppid, parents)
}

// with lists the processes with one of some numbers in a field of their stat.
func with(field int, numbers []int) (members []int) {
	if len(numbers) == 0 {
		return nil
	}
	for _, pid := range PIDs() {
		if _, fields, err := Stat(pid); err == nil {
			if n, err := strconv.Atoi(fields[field]); err == nil && slices.Contains(numbers, n) {
				members = append(members, pid)
			}
		}
	}
	return members
}

// Scan reads the numbers a file begins with.
func Scan(path string, into ...*int64) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	args := make([]any, len(into))
	for i := range into {
		args[i] = into[i]
	}
	n, _ := fmt.Sscan(string(text), args...)
	return n == len(into)
}
