package process

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	if os.Getenv(firstThreadVariable) == "" {
		return
	}
	runtime.LockOSThread() // init runs on the first thread
	if !isFirstThread() {
		os.Exit(2)
	}
	own := 0
	onThread(func() { own = unix.Gettid() })
	if own == os.Getpid() || own == 0 {
		os.Exit(3)
	}
	os.Exit(0)
}

const firstThreadVariable = "ERLMCP_TEST_FIRST_THREAD"

// Whoever calls from the process's first thread gets another one.
func TestOnThreadIsNotTheFirst(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), firstThreadVariable+"=1")
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}
