package process

import (
	"fmt"
	"syscall"
)

// withFiles has fork make a child whose soft limit of open files is that; 0 is the one that this process was
// started with, which the Go runtime has raised for itself only, and gives back to its children. Limits are inherited
// from the process at the moment of a fork, so this process has the child's for as long as that takes.
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
	set := setFiles
	if child == own { // as the runtime has it, who would give the child what this process was started with
		set = setFilesForGood
	}
	if err := set(&child); err != nil {
		return 0, fmt.Errorf("cluster.open_files: %d: %w", files, err)
	}
	defer func() { _ = set(&own) }() // what was allowed before
	return fork()
}

// setFilesForGood has the Go runtime forget what this process was started with.
func setFilesForGood(l *syscall.Rlimit) error { return syscall.Setrlimit(syscall.RLIMIT_NOFILE, l) }
