package process

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/pidfd"
	"github.com/erlmcp/erlmcp/internal/proc"
)

const (
	orphanRounds = 10 // the children of a process that is killed show up in the next one
	orphanPause  = 10 * time.Millisecond
)

// endOrphans kills what has all these entries in its environment, except for what belongs to one of
// the groups, and what is shared with others. It returns when they are gone, or after some rounds, and whether there
// were any.
func endOrphans(marks []string, spare *groups) (some bool) {
	for range orphanRounds {
		found := false
		spare.hold(func(known map[int]bool) {
			for _, p := range processes() {
				switch {
				case known[p.group] || known[p.pid] || p.pid == os.Getpid():
				case p.dead:
					p.reap()
				case p.shared():
				case p.marked(marks):
					found = true
					p.kill()
				}
			}
		})
		if !found {
			return some
		}
		some = true
		time.Sleep(orphanPause)
	}
	return some
}

// kill kills the process, unless another has got its pid since it was read.
func (p procEntry) kill() {
	_ = pidfd.Signal(p.pid, syscall.SIGKILL, func() bool { return pidfd.Began(p.pid) == p.began })
}

// endAdopted kills what has become this process's child because its parent ended, and is not shared
// with others. Nothing that was launched runs any more. It returns when they are gone, or after some rounds.
func endAdopted() {
	for range orphanRounds {
		found := false
		for _, p := range processes() {
			switch {
			case !p.adopted() || p.shared():
			case p.dead:
				p.reap()
			default:
				found = true
				p.kill()
			}
		}
		if !found {
			return
		}
		time.Sleep(orphanPause)
	}
}

// adopted reports whether the process has become this one's child because its parent ended. What this
// program starts otherwise has its name, or is in its group, and is waited for by others.
func (p procEntry) adopted() bool {
	return p.parent == os.Getpid() && p.group != syscall.Getpgrp() && p.name != ownName()
}

// reap reaps a process that was adopted and has ended.
func (p procEntry) reap() {
	if p.adopted() {
		_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
	}
}

// procEntry is a process as /proc shows it.
type procEntry struct {
	pid, parent, group int
	name               string
	dead               bool   // not reaped yet
	began              string // as pidfd.Began has it
}

// shared reports whether the process serves others too: all Erlang nodes of a machine have one epmd.
func (p procEntry) shared() bool { return p.name == "epmd" }

// marked reports whether all entries are in the environment that the process was started with.
func (p procEntry) marked(marks []string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "environ"))
	if err != nil {
		return false // another user's, or gone
	}
	entries := bytes.Split(text, []byte{0})
	for _, mark := range marks {
		if !slices.ContainsFunc(entries, func(e []byte) bool { return string(e) == mark }) {
			return false
		}
	}
	return true
}

func processes() (found []procEntry) {
	for _, pid := range proc.PIDs() {
		if p, ok := readProcEntry(pid); ok {
			found = append(found, p)
		}
	}
	return found
}

func readProcEntry(pid int) (procEntry, bool) {
	name, fields, err := proc.Stat(pid)
	if err != nil {
		return procEntry{}, false
	}
	parent, _ := strconv.Atoi(fields[1])
	group, _ := strconv.Atoi(fields[2])
	return procEntry{pid, parent, group, name, fields[0] == "Z", fields[19]}, true
}

func ownName() string {
	p, _ := readProcEntry(os.Getpid())
	return p.name
}
