package cmd

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/freeport"
	"github.com/erlmcp/erlmcp/internal/guardtest"
	"github.com/erlmcp/erlmcp/internal/waittest"
	"github.com/erlmcp/erlmcp/proxy"
)

// TestMain lets the test binary stand in for erlmcp: scripts, daemons and workers all execute it
// under that name.
func TestMain(m *testing.M) {
	systemConfig = ""
	programs := map[string]func(){
		"erlmcp":   func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"stubborn": stubborn,
		"flood":    flood,
		"counter":  counter,
	}
	if programs[filepath.Base(os.Args[0])] == nil {
		guardtest.Guard()
	}
	testscript.Main(unconfigured{m}, programs)
}

// unconfigured runs the tests without what the environment configures.
type unconfigured struct{ testscript.TestingM }

func (u unconfigured) Run() int {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "ERLMCP_") {
			_ = os.Unsetenv(name)
		}
	}
	return u.TestingM.Run()
}

// TestScripts runs testdata/*.txtar, each in a directory and with a state directory of its own.
//
// Beside the commands of testscript, scripts have
//
//	exitcode N erlmcp ARGS…   run erlmcp and require its exit code, for codes other than 0 and 1
//	freeports NAME…           put a free TCP port of 127.0.0.1 into each variable
//	answering VAR STATUS      start a web server that answers everything with a status, and put its host and port into a variable
//	certificate DIR DAYS      put a self-signed certificate, lb.crt and lb.key, that ends in so many days into a directory
//
// the variables LIMIT_PIDS, a script that runs a command with few processes (sh -c $LIMIT_PIDS sh N COMMAND…), and UNTIL, one
// that runs a command until it prints what is awaited (sh -c $UNTIL REGEXP COMMAND…), and
// the conditions [mounts], which holds where a script may mount file systems in a namespace of its own, and [pids],
// where LIMIT_PIDS works, and [ipv6];
// and whatever a script starts in the background it must stop: the script fails when its state
// directory still has a daemon at the end.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			state, err := os.MkdirTemp("", "erlmcp") // short: the path of a unix socket must fit 100 bytes
			if err != nil {
				return err
			}
			env.Defer(func() {
				for _, daemon := range []string{"lb", "cluster"} {
					if pid, running, err := control.Running(state, daemon); err != nil || running {
						t.Errorf("%s left a daemon running: %s (pid %d)", filepath.Base(env.WorkDir), daemon, pid)
						_ = syscall.Kill(pid, syscall.SIGKILL)
					}
				}
				_ = os.RemoveAll(state)
			})
			env.Setenv("ERLMCP_STATE_DIR", state)
			env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/.config")
			env.Setenv("NO_COLOR", "1")
			env.Setenv("LIMIT_PIDS", limitPids)
			env.Setenv("UNTIL", until)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"answering":    scriptAnswering,
			"certificate":  scriptCertificate,
			"exitcode":     scriptExitCode,
			"freeports":    scriptFreePorts,
			"signaldaemon": scriptSignalDaemon,
		},
		Condition:           scriptCondition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// scriptCondition knows the conditions of scripts beyond testscript's own.
func scriptCondition(name string) (bool, error) {
	switch name {
	case "mounts":
		return exec.Command("unshare", "-m", "mount", "-t", "tmpfs", "none", "/tmp").Run() == nil, nil
	case "ipv6":
		l, err := net.Listen("tcp", "[::1]:0")
		if err == nil {
			_ = l.Close()
		}
		return err == nil, nil
	case "pids":
		return exec.Command("sh", "-c", limitPids, "sh", "1000", "true").Run() == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// until is a script that runs a command until it prints what a regular expression matches, for a minute at most.
const until = `for i in $(seq 600); do
	"$@" 2>/dev/null | grep -q "$0" && exit 0
	sleep 0.1
done
exit 1`

// limitPids is a script that runs a command in a control group, of either version, with so many processes and threads.
const limitPids = `for root in /sys/fs/cgroup/pids /sys/fs/cgroup; do
	group=$root/erlmcp-test-$$
	mkdir $group 2>/dev/null || continue
	if [ -e $group/pids.max ]; then
		echo $1 >$group/pids.max
		shift
		sh -c 'echo $$ >$0/cgroup.procs && exec "$@"' $group "$@"
		code=$?
		rmdir $group
		exit $code
	fi
	rmdir $group
done
exit 99`

// scriptExitCode is the script command "exitcode N PROGRAM ARGS…".
func scriptExitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N program [args...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		got = fmt.Sprint(exit.ExitCode())
	} else {
		ts.Check(err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// scriptSignalDaemon is the script command "signaldaemon STOP|CONT|KILL lb|cluster".
func scriptSignalDaemon(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "KILL": syscall.SIGKILL}
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signaldaemon STOP|CONT|KILL lb|cluster")
	}
	pid, running, err := control.Running(ts.Getenv("ERLMCP_STATE_DIR"), args[1])
	if err != nil || !running {
		ts.Fatalf("%s does not run", args[1])
	}
	ts.Check(syscall.Kill(pid, signals[args[0]]))
	if args[0] == "STOP" {
		awaitStopped(ts, pid)
	}
}

// awaitStopped returns when no thread of a process runs any more: a signal that stops it takes its time, in which
// it may still answer. Where threads cannot be looked at, it returns at once.
func awaitStopped(ts *testscript.TestScript, pid int) {
	if !waittest.Within(time.Minute, func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return !slices.ContainsFunc(threads, func(name string) bool {
			text, err := os.ReadFile(name)
			_, state, _ := strings.Cut(string(text), ") ")
			return err == nil && !strings.HasPrefix(state, "T")
		})
	}) {
		ts.Fatalf("process %d does not stop", pid)
	}
}

// scriptCertificate is the script command "certificate DIR DAYS". Files are replaced at once, the key first.
func scriptCertificate(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: certificate dir days")
	}
	days, err := strconv.Atoi(args[1])
	ts.Check(err)
	cert, key, err := proxy.SelfSigned([]string{"localhost", "127.0.0.1"}, days)
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	for _, file := range []struct {
		name string
		pem  []byte
	}{{"lb.key", key}, {"lb.crt", cert}} {
		path := filepath.Join(dir, file.name)
		ts.Check(os.WriteFile(path+".new", file.pem, 0o600))
		ts.Check(os.Rename(path+".new", path))
	}
}

// scriptAnswering is the script command "answering VAR STATUS".
func scriptAnswering(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: answering VAR STATUS")
	}
	status, err := strconv.Atoi(args[1])
	ts.Check(err)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="test"`)
		http.Error(w, "you said "+r.Header.Get("Authorization"), status)
	}))
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.Listener.Addr().String())
}

// scriptFreePorts is the script command "freeports NAME…".
func scriptFreePorts(ts *testscript.TestScript, _ bool, names []string) {
	ports, err := freeport.Find(len(names))
	ts.Check(err)
	for i, name := range names {
		ts.Setenv(name, strconv.Itoa(ports[i]))
	}
}
