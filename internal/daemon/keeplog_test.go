package daemon

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

const testLogEnv = "DAEMON_TEST_LOG"

func init() {
	roles["logs"] = func() {
		w := KeepLog(os.Stderr, LogOptions{Path: os.Getenv(testLogEnv), MaxSize: 500, Keep: 100})
		term := catch()
		_ = Ready()
		for i := 0; ; i++ {
			select {
			case <-term:
				return
			case <-time.After(time.Millisecond):
				fmt.Fprintf(w, "line %d\n", i)
			}
		}
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	waittest.Until(t, time.Minute, what, done)
}

// A log is rotated when it is long, and a new one is begun when it has been renamed or removed, without a lost line.
func TestLogIsKept(t *testing.T) {
	o := options(t, "logs")
	dir := filepath.Dir(o.LogFile)
	o.Env = append(o.Env, testLogEnv+"="+o.LogFile)
	pid, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() { _ = syscall.Kill(pid, syscall.SIGUSR1) }
	longer := func(path string, size int64) func() bool {
		return func() bool {
			info, err := os.Stat(path)
			return err == nil && info.Size() > size
		}
	}
	// By itself, in time, and at once when it is asked.
	await(t, "the first rotation", longer(o.LogFile+".1", 0))
	await(t, "lines enough for the second", longer(o.LogFile, 500))
	ask()
	await(t, "the second rotation", longer(o.LogFile+".2", 0))
	// As logrotate does.
	moved := filepath.Join(dir, "moved")
	if err := os.Rename(o.LogFile, moved); err != nil {
		t.Fatal(err)
	}
	ask()
	await(t, "a new log", longer(o.LogFile, 0))
	// With its directory.
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	await(t, "a new directory", longer(o.LogFile, 0))
	stop(t, pid)

	// It may have been rotated more often than it was waited for: each file goes on where another ends.
	var texts []string
	for _, pattern := range []string{dir + ".away/*", dir + "/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(text))
		}
	}
	first := func(text string) (n int) {
		_, _ = fmt.Sscanf(text, "line %d\n", &n)
		return n
	}
	slices.SortStableFunc(texts, func(a, b string) int { return cmp.Or(first(a)-first(b), len(a)-len(b)) })
	i := 0
	for line := range strings.Lines(strings.Join(texts, "")) {
		if want := fmt.Sprintf("line %d\n", i); line != want {
			t.Fatalf("%q follows line %d", line, i-1)
		}
		i++
	}
	if last := first(texts[len(texts)-1]); last == 0 {
		t.Error("the log has never been begun anew")
	}
}

func TestOtherStreamsAreLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if w := KeepLog(&b, LogOptions{Path: path}); w != &b {
		t.Errorf("got %T", w)
	}
	if w := KeepLog(os.Stderr, LogOptions{Path: path}); w != os.Stderr {
		t.Errorf("got %T", w)
	}
}
