//go:build !linux

package process

// isFirstThread is of no matter where niceness is a process's alone.
func isFirstThread() bool { return false }
