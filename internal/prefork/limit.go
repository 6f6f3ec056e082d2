package prefork

import (
	"fmt"
	"syscall"
)

// Reserve is how many descriptors a copy keeps for itself: standard streams, control stream,
// pollers, mappings, log files and what libraries open for a moment.
const Reserve = 256

// Limit raises this process's soft limit of open files to the hard one and returns it. Children
// inherit the raised limit.
func Limit() (uint64, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("prefork: read the limit of open files: %w", err)
	}
	most, err := maxFiles(l.Max)
	if err != nil {
		return 0, fmt.Errorf("prefork: read the limit of open files: %w", err)
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
