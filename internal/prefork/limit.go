package prefork

import (
	"fmt"
	"syscall"
)

// Reserve is how many descriptors a copy keeps for itself: standard streams, control stream,
// pollers, mappings, log files and what libraries open for a moment.
const Reserve = 256

// Ceiling is what Limit raises the limit to. Where this process does not go on to raise it, its children are
// given the soft limit that it was started with itself.
func Ceiling() (uint64, error) {
	most, _, err := ceiling()
	return most, err
}

func ceiling() (most uint64, l syscall.Rlimit, err error) {
	if err = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err == nil {
		most, err = maxFiles(l.Max)
	}
	if err != nil {
		return 0, l, fmt.Errorf("prefork: read the limit of open files: %w", err)
	}
	return most, l, nil
}

// Limit raises this process's soft limit of open files to the hard one and returns it. Children
// inherit the raised limit.
func Limit() (uint64, error) {
	most, l, err := ceiling()
	if err != nil {
		return 0, err
	}
	l.Cur = most
	// Also when nothing changes: only a limit that was set explicitly survives exec, otherwise the
	// Go runtime gives children back the soft limit it found.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("prefork: raise the limit of open files to %d: %w", most, err)
	}
	return most, nil
}

// Room is how many items (connections) of perItem descriptors each one copy can hold under the
// limit nofile, 0 when the limit is within [Reserve].
func Room(perItem int, nofile uint64) int {
	if nofile <= Reserve {
		return 0
	}
	return int(min(nofile-Reserve, 1<<31)) / max(perItem, 1)
}
