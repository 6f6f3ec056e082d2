package prefork

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCopiesKnowWhoTheyAre(t *testing.T) {
	const n = 3
	shared := tempFile(t, "shared")
	own := []*os.File{tempFile(t, "one"), tempFile(t, "two"), tempFile(t, "three")}
	before := openOnExec()
	h := start(t, "worker", n, func(c *Config) {
		c.Env = []string{"ERLMCP_TEST=1"}
		c.Files = []File{{"shared", shared}}
		c.PerLane = func(i int) []File { return []File{{"greeting", own[i]}} }
	})
	h.Broadcast("facts", nil)
	seen := make(map[int]bool)
	for _, e := range h.awaitEvents(t, "message", n) {
		f := into[facts](t, e.Message.Data)
		seen[f.Index] = true
		if f.Index != e.Copy || f.Copies != n || f.PID != h.PID(e.Copy) || f.Parent != os.Getpid() {
			t.Errorf("copy %d: %+v, want pid %d, parent %d", e.Copy, f, h.PID(e.Copy), os.Getpid())
		}
		if want := []string{"erlmcp", "worker"}; !slices.Equal(f.Args, want) {
			t.Errorf("arguments %q, want %q", f.Args, want)
		}
		if want := []string{"ERLMCP_TEST=1"}; !slices.Equal(f.Environment, want) {
			t.Errorf("environment %q, want %q", f.Environment, want)
		}
		if want := []string{"one", "two", "three"}[e.Copy]; f.File != want || f.Taken {
			t.Errorf("copy %d read %q (again: %t), want %q", e.Copy, f.File, f.Taken, want)
		}
		if !slices.Equal(f.OpenOnExec, before) { // before: what the tests themselves were started with
			t.Errorf("programs started by copy %d would inherit descriptors %v, want %v", e.Copy, f.OpenOnExec, before)
		}
	}
	if len(seen) != n {
		t.Errorf("answers from %v", seen)
	}
	if after := openOnExec(); !slices.Equal(before, after) {
		t.Errorf("descriptors without close-on-exec in the parent: %v, before %v", after, before)
	}
}

func TestCopiesApart(t *testing.T) {
	own, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, apart := range []bool{false, true} {
		h := start(t, "worker", 2, func(c *Config) { c.Apart = apart })
		for i := range 2 {
			want := own
			if apart {
				want = h.PID(i)
			}
			if session, err := unix.Getsid(h.PID(i)); err != nil || session != want {
				t.Errorf("apart %v: copy %d is in session %d, %v, want %d", apart, i, session, err, want)
			}
		}
	}
}

func TestReplacement(t *testing.T) {
	h := start(t, "worker", 2, nil)
	old := h.PID(1)
	h.send(t, 1, "exit", 3)
	h.awaitEvents(t, "start", 3)

	h.mu.Lock()
	events := slices.Clone(h.events)
	h.mu.Unlock()
	exit := slices.IndexFunc(events, func(e event) bool { return e.What == "exit" })
	if exit != 2 {
		t.Fatalf("want two starts, the exit, the new start; got %+v", events)
	}
	var status *exec.ExitError
	if e := events[exit]; e.Copy != 1 || e.PID != old || !errors.As(e.Err, &status) || status.ExitCode() != 3 {
		t.Errorf("exit reported as %+v", e)
	}
	if e := events[3]; e.Copy != 1 || e.PID == old || e.PID != h.PID(1) {
		t.Errorf("replacement reported as %+v, pid of copy 1 is %d", e, h.PID(1))
	}
	h.send(t, 1, "hello", "again")
	if m := h.awaitEvents(t, "message", 1)[0].Message; m.Kind != "hello" || string(m.Data) != `"again"` {
		t.Errorf("replacement answers %s %s", m.Kind, m.Data)
	}
}

func TestReplacementAfterCleanExit(t *testing.T) {
	h := start(t, "quit", 1, nil)
	if e := h.awaitEvents(t, "exit", 2)[0]; e.Err != nil {
		t.Errorf("exit status 0 reported as %v", e.Err)
	}
}

// A copy that dies before it ever read what waits in its control stream.
func TestCrashBeforeInherit(t *testing.T) {
	h := start(t, "crash", 2, func(c *Config) {
		c.Hello = func(int) (string, any) { return "spec", strings.Repeat("x", 1<<20) }
	})
	for range 200 {
		h.Broadcast("nodes", nil)
	}
	h.awaitEvents(t, "exit", 10)
}

func TestKill(t *testing.T) {
	h := start(t, "stubborn", 1, nil)
	h.Kill(0)
	var status *exec.ExitError
	if e := h.awaitEvents(t, "exit", 1)[0]; !errors.As(e.Err, &status) {
		t.Errorf("killed copy reported as %v", e.Err)
	}
	h.awaitEvents(t, "start", 2)
}

func TestSendBetweenLives(t *testing.T) {
	h := start(t, "worker", 1, func(c *Config) { c.Backoff.Min = time.Hour })
	h.send(t, 0, "exit", 1)
	h.awaitEvents(t, "exit", 1)
	if err := h.Send(0, "hello", nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("send: %v", err)
	}
	if pid := h.PID(0); pid != 0 {
		t.Errorf("pid %d", pid)
	}
	h.Kill(0)
	h.Broadcast("hello", nil)

	// And Stop does not wait for the replacement.
	if err := h.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if n := len(h.all("start")); n != 1 {
		t.Errorf("%d starts", n)
	}
}

// Control-C at a terminal reaches the whole process group; copies leave it to their parent.
func TestTerminalSignalsAreIgnored(t *testing.T) {
	h := start(t, "worker", 1, nil)
	h.send(t, 0, "ready", nil)
	h.awaitEvents(t, "message", 1)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGINT} {
		if err := syscall.Kill(h.PID(0), s); err != nil {
			t.Fatal(err)
		}
	}
	h.send(t, 0, "alive", nil)
	h.awaitEvents(t, "message", 2)
	if n := len(h.all("exit")); n != 0 {
		t.Errorf("%d exits", n)
	}
}

func TestStartFails(t *testing.T) {
	open := tempFile(t, "")
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no name", func(c *Config) { c.Name = "" }, "prefork: a pool needs a name"},
		{"no copies", func(c *Config) { c.Copies = 0 }, "test: the limit of open files is too low (raise the hard limit: ulimit -Hn)"},
		{"nil file", func(c *Config) { c.Files = []File{{"board", nil}} }, `test: inherited file "board" is nil`},
		{"file without name", func(c *Config) { c.Files = []File{{"", open}} }, "test: inherited file without a name"},
		{"same name twice", func(c *Config) {
			c.Files = []File{{"board", open}}
			c.PerLane = func(int) []File { return []File{{"board", open}} }
		}, `test: two inherited files are called "board"`},
		{"third copy fails", func(c *Config) {
			c.PerLane = func(i int) []File {
				if i == 2 {
					return []File{{"tcp", nil}}
				}
				return nil
			}
		}, `test: inherited file "tcp" is nil`},
		{"no JSON", func(c *Config) { c.Hello = func(int) (string, any) { return "spec", func() {} } },
			`test: encode control message "spec": json: unsupported type: func()`},
		{"closed file", func(c *Config) {
			f := tempFile(t, "")
			f.Close()
			c.Files = []File{{"board", f}}
		}, `test: inherited file "board" is closed`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &harness{}
			c := h.config("worker", 4)
			tt.change(&c)
			p, err := Start(t.Context(), c)
			if err == nil {
				_ = p.Stop(ended())
				t.Fatal("started")
			}
			if err.Error() != tt.want {
				t.Errorf("error %q, want %q", err, tt.want)
			}
			if s, e := len(h.all("start")), len(h.all("exit")); s != e {
				t.Errorf("%d started, %d ended", s, e)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		if _, err := Start(ended(), (&harness{}).config("worker", 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("start: %v", err)
		}
	})
}

func TestRestartFails(t *testing.T) {
	var asked atomic.Int32
	h := start(t, "worker", 1, func(c *Config) {
		c.PerLane = func(int) []File {
			if n := asked.Add(1); n > 1 && n < 5 {
				return []File{{"tcp", nil}}
			}
			return nil
		}
	})
	h.Kill(0)
	h.awaitEvents(t, "start", 2)
	if n := asked.Load(); n != 5 {
		t.Errorf("tried %d times", n)
	}
}

// A pool's file descriptors and goroutines (goleak) stay the same over 100 lives of its copies.
func TestNoLeaks(t *testing.T) {
	before := descriptors()
	h := start(t, "worker", 4, func(c *Config) { c.Hello = func(i int) (string, any) { return "hello", i } })
	for i := range h.cfg.Copies {
		h.send(t, i, "ready", nil)
	}
	h.awaitEvents(t, "message", 8)
	running := len(descriptors())
	for lives := 4; lives < 104; lives += 4 {
		for i := range h.cfg.Copies {
			switch i {
			case 0:
				h.send(t, i, "exit", 1)
			case 1:
				_ = syscall.Kill(h.PID(i), syscall.SIGTERM)
			default:
				h.Kill(i)
			}
		}
		h.awaitEvents(t, "start", lives+4)
	}
	await(t, "descriptors as before", func() bool { return len(descriptors()) == running })
	if err := h.Stop(ended()); err != nil && !errors.Is(err, ErrKilled) {
		t.Error(err)
	}
	if after := descriptors(); len(after) != len(before) {
		t.Errorf("descriptors %v, before %v", after, before)
	}
}

func TestOutput(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	h := start(t, "worker", 1, func(c *Config) {
		c.Args = []string{"shout"}
		c.Stdout = writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return out.Write(p)
		})
		c.Backoff.Min = time.Hour
	})
	h.awaitEvents(t, "exit", 1)
	mu.Lock()
	defer mu.Unlock()
	if got := out.String(); got != "shout\n" {
		t.Errorf("output %q", got)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestBackoff(t *testing.T) {
	b := Backoff{}.withDefaults()
	var got []string
	var wait time.Duration
	for range 8 {
		wait = b.next(wait, time.Second)
		got = append(got, wait.String())
	}
	wait = b.next(wait, 30*time.Second)
	got = append(got, wait.String())
	want := "[200ms 400ms 800ms 1.6s 3.2s 6.4s 10s 10s 200ms]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestInheritWithoutPool(t *testing.T) {
	if _, err := Inherit(); !errors.Is(err, ErrNotChild) {
		t.Errorf("inherit: %v", err)
	}
}
