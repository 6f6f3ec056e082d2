package daemon

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/control"
)

// ReopenLog has a daemon in the background write to its log, as Options.LogFile has it, under its name again if what
// it writes to has been removed. Anywhere else it does nothing.
func ReopenLog(path string) error {
	var now unix.Stat_t
	if err := unix.Fstat(2, &now); err != nil || !background || now.Mode&unix.S_IFMT != unix.S_IFREG || now.Nlink > 0 {
		return err
	}
	if err := control.PrepareDir(filepath.Dir(path)); err != nil {
		return err
	}
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	return errors.Join(replace(int(log.Fd()), 1), replace(int(log.Fd()), 2))
}
