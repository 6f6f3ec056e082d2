package control

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// maxSocketPath is the room for a path in struct sockaddr_un without its final zero byte: 108 on
// Linux, 104 on BSD and macOS.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// DirError says why a state directory cannot be used.
type DirError struct {
	Dir    string
	Reason string
}

func (e *DirError) Error() string { return fmt.Sprintf("state directory %s %s", e.Dir, e.Reason) }

// Hint is the way out.
func (e *DirError) Hint() string { return "choose another one with --state-dir or ERLMCP_STATE_DIR" }

// ExitCode marks a directory that was chosen badly as wrong usage.
func (e *DirError) ExitCode() int { return 2 }

func socketPath(dir, name string) (string, error) {
	path := filepath.Join(dir, name+".sock")
	if len(path) > maxSocketPath {
		return "", &DirError{dir, fmt.Sprintf(
			"has too long a path: the socket %s.sock would need %d bytes, the system allows %d",
			name, len(path), maxSocketPath)}
	}
	return path, nil
}

// PrepareDir creates a state directory (0700), or checks that nobody else can plant a lock, a
// socket or a log in it: the default directory below /tmp could have been made by another user. The
// error is a *[DirError].
func PrepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &DirError{dir, fmt.Sprintf("cannot be created: %v", err)}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return &DirError{dir, fmt.Sprintf("cannot be read: %v", err)}
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return &DirError{dir, fmt.Sprintf("belongs to user %d, not to you", owner)}
	}
	if info.Mode().Perm()&0o002 != 0 {
		return &DirError{dir, "can be written by every user"}
	}
	return nil
}
