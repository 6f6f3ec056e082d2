package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/guardtest"
	"github.com/erlmcp/erlmcp/internal/waittest"
)

// roleEnv makes this binary a daemon that behaves in that way.
const roleEnv = "DAEMON_TEST_ROLE"

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(roleEnv)]; ok {
		role()
		os.Exit(0)
	}
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}

var roles = map[string]func(){
	"good": func() {
		input, _ := io.ReadAll(os.Stdin)
		dir, _ := os.Getwd()
		fmt.Printf("args %q input %q dir %q env %q session %v\n",
			os.Args, input, dir, os.Getenv(reportEnv), syscall.Getpid() == session())
		term := catch()
		_ = Ready()
		<-term
	},
	"advised": func() { Fail(advised{}) },
	"plain":   func() { Fail(errors.New("no luck")) },
	"dies": func() {
		for i := range 20 {
			fmt.Println("line", i)
		}
		os.Exit(7)
	},
	// A child of the daemon must not keep the starter from seeing that the daemon died.
	"dies with child": func() {
		child := exec.Command("sleep", "60")
		child.SysProcAttr = &syscall.SysProcAttr{}
		if err := child.Start(); err == nil {
			fmt.Println(child.Process.Pid)
		}
		os.Exit(7)
	},
	"slow": func() {
		term := catch()
		fmt.Println("begun")
		<-term
		fmt.Println("ended")
	},
}

// Parent and child of a lifeline. The child tells its pid when the lifeline is tied.
func init() {
	roles["lifeline parent"] = func() {
		lifeline, err := NewLifeline()
		if err != nil {
			panic(err)
		}
		env, file := lifeline.Child()
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), env, roleEnv+"=lifeline child")
		child.ExtraFiles = []*os.File{file}
		child.Stdout = os.Stdout
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := child.Start(); err != nil {
			panic(err)
		}
		select {}
	}
	roles["lifeline child"] = func() {
		fmt.Println(os.Getpid())
		time.Sleep(time.Minute) // what the lifeline ends
		fmt.Println("still here")
	}
}

func TestLifeline(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), roleEnv+"=lifeline parent")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscan(out, &child); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Only the child still holds the pipe.
	if rest, err := io.ReadAll(out); err != nil || strings.TrimSpace(string(rest)) != "" {
		t.Errorf("after the end of its parent the child said %q, %v", rest, err)
	}
	_ = parent.Wait()
}

type advised struct{}

func (advised) Error() string { return "no luck" }
func (advised) Hint() string  { return "try again" }
func (advised) ExitCode() int { return 2 }

func catch() <-chan os.Signal {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	return term
}

func session() int {
	sid, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	return int(sid)
}

func options(t *testing.T, role string) Options {
	return Options{
		Env:     []string{roleEnv + "=" + role},
		LogFile: filepath.Join(t.TempDir(), "made", "daemon.log"),
	}
}

func TestReady(t *testing.T) {
	o := options(t, "good")
	o.Args, o.Input = []string{"lb", "serve"}, []byte("hello")
	pid, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, pid)
	log, err := os.ReadFile(o.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	want := `args ["erlmcp" "lb" "serve"] input "hello" dir "/" env "" session true` + "\n"
	if string(log) != want {
		t.Errorf("got  %swant %s", log, want)
	}
}

func stop(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, time.Minute, fmt.Sprintf("the end of daemon %d", pid), func() bool { return syscall.Kill(pid, 0) != nil })
}

func TestFailures(t *testing.T) {
	tests := []struct {
		role string
		want Error
	}{
		{"advised", Error{Message: "no luck", Advice: "try again", Exit: 2}},
		{"plain", Error{Message: "no luck", Exit: 1}},
	}
	for _, test := range tests {
		_, err := Start(t.Context(), options(t, test.role))
		var e *Error
		if !errors.As(err, &e) || *e != test.want {
			t.Errorf("%s: got %#v", test.role, err)
		}
	}
}

func TestDeathQuotesTheLog(t *testing.T) {
	o := options(t, "dies")
	if err := os.MkdirAll(filepath.Dir(o.LogFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.LogFile, []byte("from an earlier life\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), o)
	if err == nil {
		t.Fatal("a dead daemon is ready")
	}
	got := err.Error()
	if !strings.Contains(got, "died before it was ready: exit status 7; it wrote:\n  line 10\n") || !strings.HasSuffix(got, "\n  line 19") {
		t.Errorf("got %s", got)
	}
}

func TestDeathIsSeenBehindAChild(t *testing.T) {
	o := options(t, "dies with child")
	_, err := Start(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("got %v", err)
	}
	log, _ := os.ReadFile(o.LogFile)
	var child int
	if _, err := fmt.Sscan(string(log), &child); err != nil {
		t.Fatalf("no child in %q", log)
	}
	_ = syscall.Kill(child, syscall.SIGKILL)
}

func TestTimeout(t *testing.T) {
	o := options(t, "slow")
	o.Timeout = 50 * time.Millisecond
	_, err := Start(t.Context(), o)
	if err == nil || err.Error() != "daemon was not ready within 50ms and was stopped" {
		t.Errorf("got %v", err)
	}
}

func TestCancelStopsTheDaemon(t *testing.T) {
	o := options(t, "slow")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		waittest.Within(time.Minute, func() bool {
			log, _ := os.ReadFile(o.LogFile)
			return strings.HasPrefix(string(log), "begun")
		})
	}()
	if _, err := Start(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if log, _ := os.ReadFile(o.LogFile); string(log) != "begun\nended\n" {
		t.Errorf("log is %q", log)
	}
}

func TestUnwritableLog(t *testing.T) {
	o := options(t, "good")
	o.LogFile = "/dev/null/daemon.log"
	if _, err := Start(t.Context(), o); err == nil || err.Error() != "state directory /dev/null is not a directory" {
		t.Errorf("got %v", err)
	}
}

func TestNotStartedByStart(t *testing.T) {
	if err := Ready(); err != nil {
		t.Error(err)
	}
	Fail(errors.New("unheard"))
}
