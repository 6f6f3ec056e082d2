package place

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// DefaultState is the state directory unless another one is chosen. It is in /tmp rather than os.TempDir when there is
// no runtime directory: the path of a unix socket has room for about 100 bytes, and TMPDIR can differ between two shells
// of one user. A runtime directory is this user's, or none: sudo and su can leave that of another one in the environment.
// doubt says so.
func DefaultState() (dir, doubt string) {
	if runtimeDir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtimeDir) {
		if doubt = doubtRuntimeDir(runtimeDir); doubt == "" {
			return filepath.Join(runtimeDir, "erlmcp"), ""
		}
	}
	return fmt.Sprintf("/tmp/erlmcp-%d", os.Getuid()), doubt
}

func doubtRuntimeDir(dir string) string {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Sprintf("XDG_RUNTIME_DIR is not used: %v", err)
	}
	if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != os.Geteuid() {
		return fmt.Sprintf("XDG_RUNTIME_DIR, %s, is not used: it belongs to user %d, not to user %d", dir, owner, os.Geteuid())
	}
	return ""
}

// WorkingDirectory is where it was if it is gone: no file of the configuration is there then, and a relative path is an
// error already.
func WorkingDirectory() string {
	if dir, err := os.Getwd(); err == nil {
		return dir
	}
	if dir := os.Getenv("PWD"); filepath.IsAbs(dir) {
		return dir
	}
	return "/nonexistent"
}
