package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// Whatever is removed of what commands find a daemon by is made anew, and the daemon says so.
func TestRemovedFilesAreMadeAnew(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"socket":    func(dir string) error { return os.Remove(filepath.Join(dir, "test.sock")) },
		"lock":      func(dir string) error { return os.Remove(filepath.Join(dir, "test.lock")) },
		"directory": os.RemoveAll,
		"renamed":   func(dir string) error { return os.Rename(dir, dir+".old") },
		"replaced": func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "test.sock"), nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(stateDir(t), "state")
			i, err := Acquire(dir, "test")
			if err != nil {
				t.Fatal(err)
			}
			warned := make(chan string, 16)
			handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { Reply(w, 200, nil) })
			if err := i.Serve(handler, func(m any, kv ...any) { warned <- fmt.Sprint(m, kv) }); err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			if said := <-warned; !strings.Contains(said, "made anew") || !strings.Contains(said, dir) {
				t.Errorf("it says %q", said)
			}
			if err := NewClient(dir, "test").Do(t.Context(), "GET", "/", nil, nil); err != nil {
				t.Error(err)
			}
			if pid, ok := runs(t, dir); !ok || pid != os.Getpid() {
				t.Errorf("running is %d, %v", pid, ok)
			}
			if _, err := Acquire(dir, "test"); !errors.Is(err, ErrRunning) {
				t.Errorf("a second one: %v", err)
			}
			if err := i.Close(); err != nil {
				t.Error(err)
			}
			if _, ok := runs(t, dir); ok {
				t.Error("runs after its end")
			}
		})
	}
}

// A client waits for the socket of a daemon that is about to make it anew, so that a command meanwhile works.
func TestCommandWhileTheSocketIsGone(t *testing.T) {
	dir := stateDir(t)
	_, client := serve(t, dir, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { Reply(w, 200, nil) }))
	for range 3 {
		if err := os.Remove(filepath.Join(dir, "test.sock")); err != nil {
			t.Fatal(err)
		}
		if err := client.Do(t.Context(), "GET", "/", nil, nil); err != nil {
			t.Error(err)
		}
	}
}

// A lock that is held tells that a daemon runs, whatever has become of its socket.
func TestHeldLockWithoutSocket(t *testing.T) {
	dir := stateDir(t)
	i, err := Acquire(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	ask := func() error { return NewClient(dir, "test").Do(t.Context(), "GET", "/", nil, nil) }
	var gone *NoSocketError
	for p, want := range map[phase]string{
		starting: fmt.Sprintf("test is starting as pid %d, and does not answer yet", os.Getpid()),
		ending:   fmt.Sprintf("test is ending as pid %d, and does not answer any more", os.Getpid()),
	} {
		writeHolder(i.lock, self(p))
		if err := ask(); !errors.As(err, &gone) || gone.Lost() || !errors.Is(err, ErrNotRunning) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	writeHolder(i.lock, self(serving))
	want := fmt.Sprintf("test is running as pid %d, but its socket is gone: %s/test.sock was removed, and not made anew", os.Getpid(), dir)
	if err := ask(); !errors.As(err, &gone) || !gone.Lost() || errors.Is(err, ErrNotRunning) || err.Error() != want || gone.Hint() == "" {
		t.Errorf("got %v, want %s", err, want)
	}
	ctx, cancel := contextFor(50 * time.Millisecond)
	defer cancel()
	if err := NewClient(dir, "test").Do(ctx, "GET", "/", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Another daemon that has taken the directory meanwhile keeps it.
func TestTakenDirectory(t *testing.T) {
	dir := filepath.Join(stateDir(t), "state")
	i, err := Acquire(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	other, err := Acquire(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Serve(http.NotFoundHandler(), silent); !errors.Is(err, ErrRunning) {
		t.Errorf("got %v", err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if err := i.Serve(http.NotFoundHandler(), silent); err != nil {
		t.Error(err)
	}
}
