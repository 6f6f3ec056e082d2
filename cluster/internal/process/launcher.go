package process

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/erlmcp/erlmcp/internal/daemon"
)

// Launcher starts processes from one thread that lives as long as it does: the kernel's death
// signal fires when the thread that forked ends, not the process.
type Launcher struct {
	jobs     chan func()
	lifeline *daemon.Lifeline
	null     *os.File
	options  Options

	groups groups // of what runs
}

// Options say what a launcher starts processes with.
type Options struct {
	Mark  string // entry in the environment of everything it starts, NAME=value
	Cage  *Cage  // owned by the launcher; nil: a process is held together by its group
	Files int    // soft limit of open files of a process; 0 is what this one was started with
	Nice  int    // niceness of what it starts; 0 is this process's
}

// NewLauncher returns a launcher. When it fails, the cage is still the caller's.
func NewLauncher(o Options) (*Launcher, error) {
	lifeline, err := daemon.NewLifeline()
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		lifeline.Close()
		return nil, err
	}
	l := &Launcher{jobs: make(chan func()), lifeline: lifeline, null: null, options: o}
	go onThread(func() {
		giveWay(o.Nice)
		for job := range l.jobs {
			job()
		}
	})
	return l, nil
}

// Close kills what processes that ended have left to this one, ends the thread and frees everything. Nothing that was
// launched may run any more.
func (l *Launcher) Close() {
	endAdopted()
	close(l.jobs)
	l.lifeline.Close()
	l.null.Close()
	l.options.Cage.Close()
}

// Program is what to execute.
type Program struct {
	Path   string
	Args   []string // Args[0] is the name ps shows
	Dir    string   // working directory; "" is the root directory
	Env    []string // NAME=value, over the environment of this process
	Unset  []string // names that are taken out of it
	Mark   string   // entry in the environment of everything that belongs to this process only
	Cgroup string   // name of its cgroup, if there is a cage
}

// pipeGrace is how long, after a process and its descendants ended, output is waited for that a
// descendant outside of the group may still hold open.
const pipeGrace = 500 * time.Millisecond

// Launch executes p in a process group of its own, and in a cgroup if there is a cage; output is to read what it prints
// to the end. When the process has ended, the rest of its group and cgroup is killed, and what has left
// the group; had it been asked to end, they may take as long as it might have. When all are reaped and
// output has returned, the process has ended.
func (l *Launcher) Launch(p Program, output func(from io.Reader)) (*Process, error) {
	cell, err := l.options.Cage.cell(p.Cgroup)
	if err != nil {
		return nil, err
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		cell.clear()
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	env, lifeline := l.lifeline.Child()
	proc := &Process{
		cell: cell, marks: []string{l.options.Mark, p.Mark},
		ended: make(chan Status, 1), asked: make(chan struct{}), doomed: make(chan struct{}),
	}
	attr := &syscall.ProcAttr{
		Dir:   cmp.Or(p.Dir, "/"),
		Env:   environment(os.Environ(), append(slices.Clone(p.Env), env, l.options.Mark, p.Mark), p.Unset),
		Files: []uintptr{l.null.Fd(), theirs.Fd(), theirs.Fd(), lifeline.Fd()},
		Sys:   groupAttr(&proc.handle),
	}
	cell.admit(attr.Sys)
	started := make(chan struct{})
	l.jobs <- func() {
		defer close(started)
		proc.pid, err = l.groups.add(func() (int, error) {
			return withFiles(l.options.Files, func() (int, error) { return syscall.ForkExec(p.Path, p.Args, attr) })
		})
	}
	<-started
	theirs.Close()
	if err != nil {
		out.Close()
		cell.clear()
		return nil, fmt.Errorf("%s: %w", p.Path, err)
	}
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		output(out)
	}()
	go func() {
		status := proc.bury(&l.groups)
		cell.clear()
		endOrphans(proc.marks, &l.groups)
		_ = out.SetReadDeadline(time.Now().Add(pipeGrace))
		<-pumped
		out.Close()
		proc.ended <- status
	}()
	return proc, nil
}
