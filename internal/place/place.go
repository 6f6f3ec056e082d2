// Package place knows where logs lie that are told no other place: where they outlive a restart of the machine, if
// there is such a place.
package place

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the units for systemd have, see "erlmcp cluster unit".
const (
	ServiceState = "/var/lib/erlmcp"
	ServiceLogs  = "/var/log/erlmcp"
)

// env is what a place depends on.
type env struct {
	getenv func(string) string
	uid    int
}

// Logs is the directory for the logs of what runs in a state directory. A state directory that was chosen has its
// logs in it. The default one is gone after a restart of the machine, so its logs are in /var/log/erlmcp for
// root, and for others in $XDG_STATE_HOME/erlmcp or ~/.local/state/erlmcp, unless that cannot be used. Those of a
// service are where its manager says.
func Logs(stateDir string, isDefault bool) string {
	return env{os.Getenv, os.Geteuid()}.logs(stateDir, isDefault)
}

func (e env) logs(stateDir string, isDefault bool) string {
	switch service := e.getenv("STATE_DIRECTORY") == stateDir; {
	case service: // this process is of it, and may write nowhere else
		if logs, _, _ := strings.Cut(e.getenv("LOGS_DIRECTORY"), ":"); filepath.IsAbs(logs) {
			return logs
		}
	case stateDir == ServiceState:
		if info, err := os.Stat(filepath.Join(ServiceLogs, "logs")); err == nil && info.IsDir() {
			return ServiceLogs
		}
	case isDefault:
		for _, dir := range e.persistent() {
			if e.owns(dir) {
				return dir
			}
		}
	}
	return stateDir
}

// persistent are the directories that logs may be in, the best one first.
func (e env) persistent() (dirs []string) {
	if home := e.getenv("XDG_STATE_HOME"); filepath.IsAbs(home) {
		dirs = append(dirs, filepath.Join(home, "erlmcp"))
	}
	if e.uid == 0 {
		return append(dirs, ServiceLogs)
	}
	if home := e.getenv("HOME"); filepath.IsAbs(home) {
		dirs = append(dirs, filepath.Join(home, ".local", "state", "erlmcp"))
	}
	return dirs
}

// owns reports whether a directory is this user's, or can be made in one that is.
func (e env) owns(dir string) bool {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil:
			stat, ok := info.Sys().(*syscall.Stat_t)
			return ok && info.IsDir() && int(stat.Uid) == e.uid && info.Mode().Perm()&0o002 == 0 &&
				unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil // a read-only file system may not
		case !os.IsNotExist(err) || at == "/":
			return false
		}
	}
}
