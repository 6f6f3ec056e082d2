package guardtest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

// playEnv has this binary play tests below a guardian of their own: what they do when they have started a family and their
// input ends.
const playEnv = "GUARDTEST_PLAY"

var plays = map[string]func(){
	"leave": func() { os.Exit(0) },
	"fail":  func() { os.Exit(7) },
	"panic": func() { panic("no luck") },
}

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "go" {
		asGo()
	}
	if depth := len(os.Getenv(familyEnv)); depth > 0 {
		family(depth)
	}
	play := plays[os.Getenv(playEnv)]
	if play != nil {
		grace = time.Millisecond
	}
	Guard()
	if play != nil {
		fmt.Println("tests", os.Getpid(), os.Args[1:])
		beget(3)
		_, _ = os.Stdin.Read(make([]byte, 1))
		play()
	}
	os.Exit(m.Run())
}

// asGo starts tests as go does.
func asGo() {
	tests := exec.Command(os.Args[1])
	tests.Stdin, tests.Stdout, tests.Stderr = os.Stdin, os.Stdout, os.Stderr
	_ = tests.Run()
	os.Exit(tests.ProcessState.ExitCode())
}

// A family is a process in a session of its own that ignores what asks it to end, its child, which ends, and the
// families which that leaves as orphans. Their environment is empty but for the depth.
const familyEnv = "FAMILY"

func family(depth int) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked)
	beget(depth - 1)
	fmt.Println("member", os.Getpid())
	if depth%2 == 0 {
		os.Exit(0) // its children are orphans
	}
	for {
		<-asked
	}
}

func beget(depth int) {
	if depth == 0 {
		return
	}
	child := exec.Cmd{Path: "/proc/self/exe", Args: []string{"member"}, Env: []string{familyEnv + "=" + strings.Repeat("x", depth)},
		Stdout: os.Stdout, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := child.Start(); err != nil {
		panic(err)
	}
}

// played is a run of the binary as tests below a guardian.
type played struct {
	*exec.Cmd
	out  *bufio.Reader
	in   io.Closer
	args []string        // that the tests must have
	said strings.Builder // at their standard error
	pids []int           // of the tests and the family
}

func play(t *testing.T, name string, command ...string) *played {
	t.Helper()
	p := &played{Cmd: exec.Command(command[0], command[1:]...)}
	p.Env = append(os.Environ(), Variable+"=", playEnv+"="+name)
	p.Stderr = &p.said
	if command[0] == "/proc/self/exe" {
		p.args = command[1:]
	}
	out, err := p.StdoutPipe()
	if err == nil {
		p.in, err = p.StdinPipe()
	}
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	p.out = bufio.NewReader(out)
	return p
}

// born reads the pids of the tests and of n members.
func (p *played) born(t *testing.T, n int) {
	t.Helper()
	for range 1 + n {
		var who string
		var pid int
		line, err := p.out.ReadString('\n')
		if _, bad := fmt.Sscan(line, &who, &pid); bad != nil || err != nil || who == "tests" && !strings.HasSuffix(line, fmt.Sprintln("", p.args)) {
			t.Fatalf("it said %q: %v", line, err)
		}
		p.pids = append(p.pids, pid)
	}
}

// ends requires that the tests end with that code, and all other processes with them.
func (p *played) ends(t *testing.T, code int) {
	t.Helper()
	_, _ = io.Copy(io.Discard, p.out) // all that live hold the other end
	_ = p.Wait()
	if got := p.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d; it said %s", got, code, &p.said)
	}
	waittest.Until(t, time.Minute, fmt.Sprint("the end of ", p.pids), func() bool {
		return !slices.ContainsFunc(p.pids, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
	})
}

// Nothing outlives tests that are ended.
func TestNothingIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		signal syscall.Signal
		code   int
	}{
		"killed":      {syscall.SIGKILL, -1},
		"terminated":  {syscall.SIGTERM, 128 + 15},
		"interrupted": {syscall.SIGINT, 128 + 2},
		"hung up":     {syscall.SIGHUP, 128 + 1},
		"quit":        {syscall.SIGQUIT, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := play(t, "leave", "/proc/self/exe", "-test.v", "x y")
			p.born(t, 3)
			if err := p.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			p.ends(t, c.code)
			if name == "quit" && !strings.Contains(p.said.String(), "main.main") {
				t.Errorf("no stack of the tests: %s", &p.said)
			}
		})
	}
}

// Nothing outlives tests that end by themselves, with what code soever. Those that would have passed have not.
func TestExitCodes(t *testing.T) {
	for name, want := range map[string]int{"fail": 7, "panic": 2, "leave": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := play(t, name, "/proc/self/exe")
			p.born(t, 3)
			_ = p.in.Close()
			p.ends(t, want)
			if left := strings.Contains(p.said.String(), "left behind"); left != (name == "leave") {
				t.Errorf("it said %s", &p.said)
			}
		})
	}
}

// Nor do tests outlive the go command that has started them.
func TestGoIsKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := filepath.Join(t.TempDir(), "go")
	if err := os.Symlink(self, command); err != nil {
		t.Fatal(err)
	}
	p := play(t, "leave", command, self)
	p.born(t, 3)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.ends(t, -1)
}
