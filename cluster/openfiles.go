package cluster

import (
	"fmt"
	"syscall"

	"github.com/erlmcp/erlmcp/internal/prefork"
)

// checkOpenFiles reports a limit that this process may not give to its children.
func checkOpenFiles(files int) error {
	most, err := prefork.Ceiling()
	if err != nil || uint64(files) <= most {
		return err
	}
	return &BuildError{
		Missing: fmt.Sprintf("cluster.open_files: %d is more than the hard limit of %d open files here", files, most),
		Advice:  "raise the hard limit (ulimit -Hn, LimitNOFILE= of a systemd unit), or lower cluster.open_files",
	}
}

// withFiles has fork make a child whose soft limit of open files is that; 0 is the one that this process was
// started with, which the Go runtime has raised for itself only. Limits are inherited from the process at the
// moment of a fork, so this process has the child's for as long as that takes.
func withFiles(files int, fork func() (int, error)) (int, error) {
	if files == 0 {
		return fork()
	}
	var own syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	child := own
	child.Cur = uint64(files)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &child); err != nil {
		return 0, fmt.Errorf("cluster.open_files: %d: %w", files, err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &own) }() // what was allowed before
	return fork()
}
