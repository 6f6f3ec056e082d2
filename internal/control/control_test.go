package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/guardtest"
	"github.com/erlmcp/erlmcp/internal/pidfd"
)

// holderDir makes this binary a daemon that holds the lock of that directory until it is killed.
const holderDir = "CONTROL_TEST_HOLDER"

// roles is what this binary does instead of testing when the variable names one, in the directory of holderDir.
var roles = map[string]func(dir string){}

const role = "CONTROL_TEST_ROLE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderDir); dir != "" {
		if do := roles[os.Getenv(role)]; do != nil {
			do(dir)
			return
		}
		hold(dir)
	}
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}

func hold(dir string) {
	i, err := Acquire(dir, "test")
	if err == nil {
		err = i.Serve(http.NotFoundHandler(), silent)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	select {}
}

func silent(any, ...any) {}

// runs is Running where nothing keeps this process from knowing.
func runs(t *testing.T, dir string) (int, bool) {
	t.Helper()
	pid, ok, err := Running(dir, "test")
	if err != nil {
		t.Error(err)
	}
	return pid, ok
}

// stateDir returns a directory with a path short enough for a socket.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func serve(t *testing.T, dir string, h http.Handler) (*Instance, *Client) {
	t.Helper()
	i, err := Acquire(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Serve(h, silent); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i, NewClient(dir, "test")
}

func TestOneInstance(t *testing.T) {
	dir := filepath.Join(stateDir(t), "made", "here")
	if _, ok := runs(t, dir); ok {
		t.Error("runs before it was started")
	}
	first, err := Acquire(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Acquire(dir, "test")
	var running *RunningError
	if !errors.As(err, &running) || !errors.Is(err, ErrRunning) || running.PID != os.Getpid() {
		t.Errorf("second instance: %v", err)
	}
	if want := fmt.Sprintf("test is already running (pid %d)", os.Getpid()); err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if pid, ok := runs(t, dir); !ok || pid != os.Getpid() {
		t.Errorf("running is %d, %v", pid, ok)
	}
	if other, err := Acquire(dir, "other"); err != nil {
		t.Error(err)
	} else if err := other.Close(); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	again, err := Acquire(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	if again.Crashed() {
		t.Error("takes a closed instance for a crashed one")
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestProbesDoNotDisturb(t *testing.T) {
	dir := stateDir(t)
	var probes sync.WaitGroup
	var done atomic.Bool
	for range 4 {
		probes.Go(func() {
			for !done.Load() {
				_, _, _ = Running(dir, "test")
			}
		})
	}
	for range 50 {
		i, err := Acquire(dir, "test")
		if err != nil {
			t.Error(err)
			break
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	done.Store(true)
	probes.Wait()
}

func TestKilledInstance(t *testing.T) {
	dir := stateDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(self)
	holder.Env = append(os.Environ(), holderDir+"="+dir)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 64)
	n, _ := out.Read(said)
	if got := string(said[:n]); got != "held\n" {
		t.Fatalf("the holder says %q", got)
	}
	if pid, ok := runs(t, dir); !ok || pid != holder.Process.Pid {
		t.Errorf("running is %d, %v; want %d", pid, ok, holder.Process.Pid)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	if _, ok := runs(t, dir); ok {
		t.Error("a killed daemon runs")
	}
	if err := NewClient(dir, "test").Do(t.Context(), "GET", "/", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("asking a killed daemon: %v", err)
	}
	next, client := serve(t, dir, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { Reply(w, 200, nil) }))
	if !next.Crashed() {
		t.Error("the instance after a kill does not know")
	}
	if err := client.Do(t.Context(), "GET", "/", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestDirectories(t *testing.T) {
	open := filepath.Join(stateDir(t), "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(stateDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := "/tmp/" + strings.Repeat("x", 120)
	tests := map[string]string{
		open: "state directory " + open + " can be written by every user (it belongs to " + userText(os.Getuid()) + ", mode 0777)",
		file: "state directory " + file + " is not a directory",
		long: fmt.Sprintf("state directory %s has too long a path: the socket test.sock would need 135 bytes, the system allows %d", long, maxSocketPath),
	}
	for dir, want := range tests {
		_, err := Acquire(dir, "test")
		var bad *DirError
		if !errors.As(err, &bad) || err.Error() != want || bad.Hint() == "" {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if err := NewClient(long, "test").Do(t.Context(), "GET", "/", nil, nil); err == nil || err.Error() != tests[long] {
		t.Errorf("client: got %v", err)
	}
}

func TestSocketIsPrivate(t *testing.T) {
	dir := stateDir(t)
	i, _ := serve(t, dir, http.NotFoundHandler())
	info, err := os.Stat(filepath.Join(i.Dir(), "test.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v", info.Mode())
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(i.Dir(), "test.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket outlives its instance: %v", err)
	}
}

func TestDo(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /double", func(w http.ResponseWriter, r *http.Request) {
		var n int
		if err := Read(r, &n); err != nil {
			Fail(w, err)
			return
		}
		Reply(w, http.StatusOK, 2*n)
	})
	mux.HandleFunc("GET /typed", func(w http.ResponseWriter, _ *http.Request) {
		Fail(w, fmt.Errorf("while asked: %w", &Error{Status: 409, Code: "busy", Message: "too busy", Advice: "wait", Exit: 2}))
	})
	mux.HandleFunc("GET /foreign", func(w http.ResponseWriter, _ *http.Request) {
		Fail(w, &DirError{"/x", "is odd", ""})
	})
	_, client := serve(t, stateDir(t), mux)

	var four int
	if err := client.Do(t.Context(), "POST", "/double", 2, &four); err != nil || four != 4 {
		t.Errorf("double is %d, %v", four, err)
	}
	refusals := []struct {
		method, path string
		in           any
		want         Error
	}{
		{"GET", "/typed", nil, Error{409, "busy", "while asked: too busy", "wait", 2}},
		{"GET", "/foreign", nil, Error{500, "", "state directory /x is odd", "choose another one with --state-dir or ERLMCP_STATE_DIR", 2}},
		{"POST", "/double", "x", Error{400, "malformed", "malformed request: json: cannot unmarshal string into Go value of type int", "", 0}},
		{"GET", "/nowhere", nil, Error{404, "", "test answered 404 Not Found", "", 0}},
	}
	for _, r := range refusals {
		err := client.Do(t.Context(), r.method, r.path, r.in, nil)
		var e *Error
		if !errors.As(err, &e) || *e != r.want {
			t.Errorf("%s: got %#v\nwant %#v", r.path, err, r.want)
		}
	}
}

func TestStream(t *testing.T) {
	gone := make(chan error, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /three", func(w http.ResponseWriter, _ *http.Request) {
		send := Lines(w)
		for i := range 3 {
			_ = send(i)
		}
	})
	mux.HandleFunc("GET /endless", func(w http.ResponseWriter, r *http.Request) {
		_ = Lines(w)("first")
		<-r.Context().Done()
		gone <- r.Context().Err()
	})
	i, client := serve(t, stateDir(t), mux)

	var got []string
	collect := func(v json.RawMessage) error { got = append(got, string(v)); return nil }
	if err := client.Stream(t.Context(), "/three", collect); err != nil || strings.Join(got, " ") != "0 1 2" {
		t.Errorf("got %v, %v", got, err)
	}
	enough := errors.New("enough")
	if err := client.Stream(t.Context(), "/endless", func(json.RawMessage) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	if err := <-gone; err == nil {
		t.Error("the server does not see the client go")
	}
	err := client.Stream(t.Context(), "/endless", func(json.RawMessage) error { go func() { _ = i.Close() }(); return nil })
	if err != nil && !errors.Is(err, ErrNotRunning) {
		t.Errorf("a stream cut by the daemon's end: %v", err)
	}
	if err := <-gone; err == nil {
		t.Error("a request outlives the daemon")
	}
}

func TestFrozenDaemon(t *testing.T) {
	dir := stateDir(t)
	frozen, err := net.Listen("unix", filepath.Join(dir, "test.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = NewClient(dir, "test").Do(ctx, "GET", "/", nil, nil)
	if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "test does not answer: context deadline exceeded" {
		t.Errorf("got %v", err)
	}
}

// The file can still name who died without a word, when a stranger has its pid already.
func TestSignalReachesTheHolderOnly(t *testing.T) {
	dir := stateDir(t)
	instance, err := Acquire(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer instance.Close()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	pid := cmd.Process.Pid
	strangers := map[string]holder{
		"another pid":                  {pid: os.Getpid(), began: pidfd.Began(os.Getpid())},
		"nobody":                       {},
		"the same pid at another time": {pid: pid, began: "1"},
		"the same pid at any time":     {pid: pid},
	}
	for name, h := range strangers {
		writeHolder(instance.lock, h)
		if err := Signal(dir, "test", pid, syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	writeHolder(instance.lock, holder{pid: pid, began: pidfd.Began(pid)})
	if err := Signal(dir, "test", pid, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != syscall.SIGTERM {
		t.Errorf("ended by %v", got)
	}
	if err := instance.Close(); err != nil {
		t.Error(err)
	}
	if err := Signal(dir, "test", os.Getpid(), syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("without a daemon: %v", err)
	}
}
