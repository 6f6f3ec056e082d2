package daemon

import (
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/prefork"
)

const (
	lifelineEnv = "ERLMCP_LIFELINE" // tells a child the descriptor of its lifeline
	lifelineFD  = 3
)

// Lifeline ties children that execute this binary to the life of this process: when it ends,
// however it ends, each child kills its own process group. A death signal of the kernel does the
// same faster, but is Linux only, and lost when the binary has file capabilities.
type Lifeline struct {
	held  *os.File // never written to; the kernel closes it with this process
	given *os.File
}

// NewLifeline returns a lifeline for any number of children.
func NewLifeline() (*Lifeline, error) {
	given, held, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make lifeline: %w", err)
	}
	return &Lifeline{held, given}, nil
}

// Child is what to add to a child: the environment, and the file that must become its descriptor 3.
// The child must lead a process group.
func (l *Lifeline) Child() (env string, file *os.File) {
	return fmt.Sprintf("%s=%d", lifelineEnv, lifelineFD), l.given
}

// Close cuts the lifeline: children that still run kill themselves.
func (l *Lifeline) Close() {
	l.held.Close()
	l.given.Close()
}

func init() {
	wanted := os.Getenv(lifelineEnv) != ""
	os.Unsetenv(lifelineEnv)
	if !wanted || syscall.Getpgrp() != os.Getpid() {
		return
	}
	syscall.CloseOnExec(lifelineFD)
	prefork.NameProcess()
	pipe := os.NewFile(lifelineFD, "lifeline")
	go func() {
		if _, err := io.Copy(io.Discard, pipe); err == nil {
			_ = syscall.Kill(0, syscall.SIGKILL) // the whole process group
		}
	}()
}
