package prefork

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// family is a parent in a process of its own, with the copies of its pool.
type family struct {
	*exec.Cmd
	lines *bufio.Reader // what parent writes; EOF when nobody of the family is left
	pipe  *os.File
}

func startFamily(t *testing.T, exe, role string) *family {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	f := &family{Cmd: exec.Command(exe), lines: bufio.NewReader(r), pipe: r}
	f.Env = append(os.Environ(), "PREFORK_TEST_PARENT="+role)
	f.ExtraFiles = []*os.File{w}
	f.Stderr = os.Stderr
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.Process.Kill()
		_ = f.Wait()
		r.Close()
	})
	return f
}

// read returns the next n lines that begin with kind, without that word.
func (f *family) read(t *testing.T, kind string, n int) (rest []string) {
	t.Helper()
	for len(rest) < n {
		line, err := f.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("waiting for %d × %s: %v", n, kind, err)
		}
		if word, r, _ := strings.Cut(strings.TrimSpace(line), " "); word == kind {
			rest = append(rest, r)
		}
	}
	return rest
}

// awaitExtinction waits until parent and copies are all gone.
func (f *family) awaitExtinction(t *testing.T) {
	t.Helper()
	if _, err := io.Copy(io.Discard, f.lines); err != nil {
		t.Fatalf("somebody outlived the parent: %v", err)
	}
}

// Whatever a copy is doing, it does not outlive a parent that is killed.
func TestParentKilled(t *testing.T) {
	tests := []struct{ role, ready string }{
		{"worker", "execute"}, // death signal, and end of the control stream
		{"orphan", "ready"},   // end of the control stream alone
	}
	if deathSignal {
		tests = append(tests, struct{ role, ready string }{"deaf", "ready"}) // death signal alone
	}
	for _, tt := range tests {
		t.Run(tt.role, func(t *testing.T) {
			f := startFamily(t, testBinary(t), tt.role)
			f.read(t, tt.ready, parentCopies)
			if err := f.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			f.awaitExtinction(t)
		})
	}
}

// The parent is killed while it forks as fast as it can.
func TestParentKilledWhileForking(t *testing.T) {
	f := startFamily(t, testBinary(t), "crash")
	f.read(t, "pid", 20)
	if err := f.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	f.awaitExtinction(t)
}

// A pool goes on after its binary was deleted, and its copies can execute it, too.
func TestDeletedBinary(t *testing.T) {
	if !deathSignal {
		t.Skip("the way to a deleted binary is /proc")
	}
	exe := filepath.Join(t.TempDir(), "binary")
	copyFile(t, testBinary(t), exe)
	f := startFamily(t, exe, "worker")
	f.read(t, "execute", parentCopies)
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(exe); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	pids := f.children(t)
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	f.read(t, "execute", parentCopies)
}

// children returns the copies that run.
func (f *family) children(t *testing.T) (pids []int) {
	t.Helper()
	task := filepath.Join("/proc", strconv.Itoa(f.Process.Pid), "task")
	threads, err := os.ReadDir(task)
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(filepath.Join(task, thread.Name(), "children"))
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

func testBinary(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
}
