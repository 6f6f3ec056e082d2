package control

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// bequeathEnv tells the program that this process becomes which descriptor holds the lock: "NAME FD".
const bequeathEnv = "ERLMCP_LOCK"

// bequest is what this process was left by the program that it was before; zero is nothing.
var bequest struct {
	name string
	fd   int
}

func init() {
	name, number, _ := strings.Cut(os.Getenv(bequeathEnv), " ")
	os.Unsetenv(bequeathEnv)
	if fd, err := strconv.Atoi(number); err == nil && fd > 2 {
		syscall.CloseOnExec(fd)
		bequest.name, bequest.fd = name, fd
	}
}

// Bequeath stops serving and leaves the lock to the program that this process is about to execute, so that nobody
// else can become the daemon meanwhile. env is to be added to that program's environment. Close afterwards frees the
// lock all the same, unless the program has begun.
func (i *Instance) Bequeath(name string) (env string, err error) {
	i.stopServing()
	i.server = nil
	if _, err := unix.FcntlInt(i.lock.Fd(), unix.F_SETFD, 0); err != nil {
		return "", fmt.Errorf("leave the lock: %w", err)
	}
	return fmt.Sprintf("%s=%s %d", bequeathEnv, name, i.lock.Fd()), nil
}

// inherited is the lock that the program before has left, if it is that of the file at path; else nil.
func inherited(name, path string) *os.File {
	if bequest.fd == 0 || bequest.name != name {
		return nil
	}
	lock := os.NewFile(uintptr(bequest.fd), path)
	bequest.fd = 0
	mine, err := lock.Stat()
	named, errNamed := os.Stat(path)
	if err != nil || errNamed != nil || !os.SameFile(mine, named) {
		lock.Close()
		return nil
	}
	return lock
}
