package daemon

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/prefork"
)

// becomeEnv tells a program that a daemon becomes the descriptor of the one who waits for it.
const becomeEnv = "ERLMCP_AGAIN"

func init() {
	fd, err := strconv.Atoi(os.Getenv(becomeEnv))
	os.Unsetenv(becomeEnv)
	if err != nil || fd <= 2 {
		return
	}
	syscall.CloseOnExec(fd)
	starter.pipe = os.NewFile(uintptr(fd), "starter")
	prefork.NameProcess()
}

// Foreground reports whether somebody else than [Start] has started this daemon and looks after it: a service
// manager, a container, somebody at a terminal. Such a one must go on as the process that it is.
func Foreground() bool { return !background }

// Become has this process execute the program of this binary anew, as it is on disk now, with the same arguments and
// descriptors and with env added to the environment. The service manager that is told [Ready] next, and given signs of life, is the one
// of this process, and whoever waits for that reads at waiting what [Start] reads of a daemon: one report, in JSON.
// It returns only when that is not possible; then waiting has been told why.
func Become(waiting *os.File, env ...string) error {
	defer waiting.Close()
	_, err := unix.FcntlInt(waiting.Fd(), unix.F_SETFD, 0)
	if err == nil {
		env = append(slices.Concat(os.Environ(), env), fmt.Sprintf("%s=%d", becomeEnv, waiting.Fd()))
		if manager != "" {
			env = append(env, notifyEnv+"="+manager)
		}
		if watchdog != 0 {
			env = append(env, fmt.Sprintf("%s=%d", watchdogEnv, watchdog.Microseconds()))
		}
		for _, program := range programs() {
			err = syscall.Exec(program, os.Args, env)
		}
	}
	err = fmt.Errorf("execute this program anew: %w", err)
	_ = json.NewEncoder(waiting).Encode(Report{Message: err.Error(), Exit: 1})
	return err
}

// programs are where this binary may be: where it was, which may be a newer one by now, or the one that runs.
func programs() (paths []string) {
	if path, err := os.Executable(); err == nil {
		path = strings.TrimSuffix(path, " (deleted)")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			paths = append(paths, path)
		}
	}
	if path, err := prefork.Executable(); err == nil {
		paths = append(paths, path)
	}
	return paths
}
