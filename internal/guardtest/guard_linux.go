package guardtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/erlmcp/erlmcp/internal/proc"
)

const (
	frontFD  = 3                     // of the guardian: ends with the process above it
	pause    = 20 * time.Millisecond // between two looks at what is left
	badGuard = 125                   // exit code, when there can be no guardian
)

// grace is for processes that are about to end when the tests have.
var grace = 30 * time.Second

// Guard returns in a process below a guardian, where the tests are to run. TestMain calls it before it runs
// them, and after it has played what other role a test has given to the binary.
//
// Tests that leave a process behind have failed: it is named, and killed.
func Guard() {
	switch os.Getenv(Variable) {
	case "":
		if !traced() {
			if os.Getenv("GORACE") == "" {
				_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // else each process with the race detector ends a second late
			}
			os.Exit(front())
		}
	case "guardian":
		os.Exit(guardian())
	}
}

// traced reports whether a debugger has this process, which would not see what another one does.
func traced() bool {
	status, _ := os.ReadFile("/proc/self/status")
	return !strings.Contains(string(status), "\nTracerPid:\t0\n")
}

// front is the process of the test. It lives as long as its guardian.
func front() int {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return failed(err)
	}
	cmd := exec.Cmd{Path: "/proc/self/exe", Args: os.Args, Env: append(os.Environ(), Variable+"=guardian"),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}} // what kills a group of processes must not reach it
	if err := cmd.Start(); err != nil {
		return failed(err)
	}
	relay(cmd.Process)
	go outlive()
	_ = cmd.Wait()
	runtime.KeepAlive(ours)
	return exitCode(cmd.ProcessState.Sys().(syscall.WaitStatus))
}

// outlive ends this process when it is go test that has started it, and has ended before.
func outlive() {
	parent := os.Getppid()
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	fd, err := unix.PidfdOpen(parent, 0)
	if string(name) != "go\n" || err != nil {
		return
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
	}
	os.Exit(badGuard)
}

// guardian starts the tests and returns when nothing is left of them.
func guardian() int {
	syscall.CloseOnExec(frontFD)
	runtime.LockOSThread() // the end of the thread would be that of the tests
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return failed(err)
	}
	_ = os.Setenv(Variable, "tests")
	tests, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Env: os.Environ(),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return failed(err)
	}
	relay(tests)
	go func() {
		_, _ = os.NewFile(frontFD, "front").Read(make([]byte, 1)) // an end: nobody writes
		_ = tests.Kill()
	}()
	var status syscall.WaitStatus
	for pid := 0; pid != tests.Pid; {
		if pid, err = syscall.Wait4(-1, &status, 0, nil); err != nil && !errors.Is(err, syscall.EINTR) {
			return failed(err)
		}
	}
	code := exitCode(status)
	if code > 1 { // killed, or a panic: they had no time to end anything
		end(0)
	} else if left := end(grace); left != "" {
		fmt.Fprintf(os.Stderr, "guardtest: the tests have left behind, and it was killed now:\n%s", left)
		code = 1
	}
	return code
}

// end returns when this process has no descendants any more. Those that are left after a time it kills, from the top,
// as the children of one that is killed become those of this process. Only it reaps them: none is another one by now.
func end(patience time.Duration) (killed string) {
	began, known := time.Now(), map[int]bool{}
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.ECHILD) {
			return killed
		}
		if pid > 0 {
			continue
		}
		if time.Since(began) >= patience {
			for _, pid := range proc.ChildrenOf([]int{os.Getpid()}) {
				if !known[pid] {
					known[pid] = true
					args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
					killed += fmt.Sprintf("\t%d %s\n", pid, strings.ReplaceAll(string(args), "\x00", " "))
				}
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(pause)
	}
}

// exitCode is that of a shell.
func exitCode(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "guardtest:", err)
	return badGuard
}

// relay has a process get the signals that this one gets to end.
func relay(p *os.Process) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	go func() {
		for s := range signals {
			_ = p.Signal(s)
		}
	}()
}
