// Package pidfd sends signals to processes that this one has not started, and so cannot keep the kernel
// from giving their pid to others.
package pidfd

import (
	"os"
	"syscall"
)

// Signal sends sig to the process that has that pid, if same says that it is the one that is meant.
// same is asked once the process is held, by a pidfd where the kernel has them (Linux 5.3): if it ends
// meanwhile, nobody gets the signal, and the error is os.ErrProcessDone. Elsewhere the pid
// would have to change hands between the answer and the signal.
func Signal(pid int, sig syscall.Signal, same func() bool) error {
	held, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	defer func() { _ = held.Release() }()
	if !same() {
		return os.ErrProcessDone
	}
	return held.Signal(sig)
}
