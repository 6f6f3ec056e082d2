package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

// Read reads /proc. It fails where a process has ended.
func Read(pid int) (State, error) {
	var p State
	dir := "/proc/" + strconv.Itoa(pid)
	fields, err := statFields(dir)
	if err != nil {
		return p, err
	}
	var user, system, pages int64
	// Fields of proc_pid_stat(5), counted from the state, the third: utime 14, stime 15, rss 24.
	if _, err := fmt.Sscan(string(fields[11]), &user); err != nil {
		return p, err
	}
	if _, err := fmt.Sscan(string(fields[12]), &system); err != nil {
		return p, err
	}
	if _, err := fmt.Sscan(string(fields[21]), &pages); err != nil {
		return p, err
	}
	const userHz = 100 // of the kernel's interface, on every architecture Go runs on
	p.CPU = time.Duration(user+system) * time.Second / userHz
	p.RSS = pages * int64(os.Getpagesize())
	p.Descriptors = descriptors(dir + "/fd")
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

// statFields returns what follows the program's name in /proc/PID/stat.
func statFields(dir string) ([][]byte, error) {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return nil, err
	}
	_, rest, _ := bytes.Cut(text[max(bytes.LastIndexByte(text, ')'), 0):], []byte(" "))
	fields := bytes.Fields(rest)
	if len(fields) < 22 {
		return nil, errors.New("unreadable " + dir + "/stat")
	}
	return fields, nil
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
func with(field int, numbers []int) []int {
	if len(numbers) == 0 {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var members []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fields, err := statFields("/proc/" + e.Name())
		if err != nil {
			continue
		}
		if n, err := strconv.Atoi(string(fields[field])); err == nil && slices.Contains(numbers, n) {
			members = append(members, pid)
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
