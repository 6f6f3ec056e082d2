// Package place knows where state and logs lie that are told no other place: logs where they outlive a restart of the
// machine, if there is such a place.
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
	getenv  func(string) string
	uid     int
	service bool // there is one on this machine, or was
}

// Logs is the directory for the logs of what runs in a state directory. A state directory that was chosen has its
// logs in it. A default one is gone after a restart of the machine, so its logs are in a directory of the same name
// in /var/log for root, and for others in $XDG_STATE_HOME or ~/.local/state, unless that cannot be used: two default
// ones, with XDG_RUNTIME_DIR and without, do not share it. Those of a service are where its manager says, and nobody
// else's are there.
func Logs(stateDir string, isDefault bool) string {
	_, err := os.Stat(ServiceState)
	return env{os.Getenv, os.Geteuid(), err == nil}.logs(stateDir, isDefault)
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
		for _, dir := range e.persistent(filepath.Base(stateDir)) {
			if e.owns(dir) {
				return dir
			}
		}
	}
	return stateDir
}

// persistent are the directories of that name that logs may be in, the best one first.
func (e env) persistent(name string) (dirs []string) {
	if home := e.getenv("XDG_STATE_HOME"); filepath.IsAbs(home) {
		dirs = append(dirs, filepath.Join(home, name))
	}
	if e.uid == 0 {
		if dir := filepath.Join(filepath.Dir(ServiceLogs), name); dir != ServiceLogs || !e.service {
			dirs = append(dirs, dir)
		}
		return dirs
	}
	if home := e.getenv("HOME"); filepath.IsAbs(home) {
		dirs = append(dirs, filepath.Join(home, ".local", "state", name))
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
