package board

import (
	"os"

	"golang.org/x/sys/unix"
)

// newMemory returns a memfd of the given size, sealed so that no process can
// shrink it under another's mapping (which would be SIGBUS there).
func newMemory(size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate("erlmcp-board", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "board")
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, err
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	return f, nil
}
