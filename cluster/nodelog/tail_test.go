package nodelog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/erlmcp/erlmcp/internal/daemon"
	"github.com/erlmcp/erlmcp/internal/waittest"
)

// these are logs that do not change.
func these(logs ...Log) func(context.Context) ([]Log, error) {
	return func(context.Context) ([]Log, error) { return logs, nil }
}

func tailedLines(t *testing.T, logs []Log, lines int) []string {
	t.Helper()
	var got []string
	err := Tail(t.Context(), TailOptions{Logs: these(logs...), Lines: lines}, func(node string, line []byte) error {
		got = append(got, node+":"+string(line))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTailLastLines(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	for i, text := range []string{"5\n6", "3\n4\n", "1\n2\n"} {
		if err := os.WriteFile(daemon.Rotated(path, i), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	logs := []Log{{"a", path}, {"none", filepath.Join(dir, "none.log")}}
	all := []string{"a:1", "a:2", "a:3", "a:4", "a:5", "a:6"}
	for n := range 8 {
		if got, want := tailedLines(t, logs, n), all[max(0, len(all)-n):]; !slices.Equal(got, want) {
			t.Errorf("last %d: got %q", n, got)
		}
	}
}

func TestTailLongFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	var text strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got := tailedLines(t, []Log{{"a", path}}, 20_000)
	if len(got) != 20_000 || got[0] != "a:line 30000" || got[19_999] != "a:line 49999" {
		t.Errorf("%d lines from %s", len(got), got[0])
	}
}

// Every line is printed once and in order while the log is rotated many times a poll.
func TestTailFollowsRotation(t *testing.T) {
	const total = 20_000
	log := testLog(t, 2000, 500)
	log.write([]byte("line 0\n"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var printed atomic.Int64
	go func() {
		followed := func(lines int64) bool { return ctx.Err() != nil || printed.Load() >= lines }
		waittest.Within(time.Minute, func() bool { return followed(1) })
		for i := 1; i < total; i++ {
			log.write(fmt.Appendf(nil, "line %d\n", i))
			waittest.Within(time.Minute, func() bool { return followed(int64(i) - 5000) })
		}
	}()
	done := errors.New("done")
	err := Tail(ctx, TailOptions{Logs: these(Log{"a", log.path}), Lines: 10, Follow: true}, func(_ string, line []byte) error {
		if want := fmt.Sprintf("line %d", printed.Load()); string(line) != want {
			return fmt.Errorf("got %q, want %q", line, want)
		}
		if printed.Add(1) == total {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Errorf("after %d lines: %v", printed.Load(), err)
	}
}

func TestTailBeginsWithAMissingLogAndEndsWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(tailPause/2, func() { _ = os.WriteFile(path, []byte("one\ntwo"), 0o600) })
		var got []string
		err := Tail(ctx, TailOptions{Logs: these(Log{"a", path}), Lines: 10, Follow: true}, func(_ string, line []byte) error {
			got = append(got, string(line))
			cancel()
			return nil
		})
		if err != nil || !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestTailTruncatedLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(path, []byte("a long line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := errors.New("done")
	var got []string
	err := Tail(t.Context(), TailOptions{Logs: these(Log{"a", path}), Lines: 10, Follow: true}, func(_ string, line []byte) error {
		got = append(got, string(line))
		if len(got) == 2 {
			return done
		}
		return os.WriteFile(path, []byte("new\n"), 0o600)
	})
	if !errors.Is(err, done) || got[1] != "new" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A log that somebody deletes is followed by the one made anew, not by what was rotated long before.
func TestTailDeletedLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	for i, text := range []string{"3\n", "2\n", "1\n"} {
		if err := os.WriteFile(daemon.Rotated(path, i), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		written := time.Now().Add(-time.Duration(i) * time.Minute)
		if err := os.Chtimes(daemon.Rotated(path, i), written, written); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	f := newFollower(path, 1, func(line []byte) error {
		got = append(got, string(line))
		return nil
	})
	defer f.close()
	poll := func() {
		t.Helper()
		if more, err := f.poll(tailShare); more || err != nil {
			t.Fatal(more, err)
		}
	}
	poll()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	poll()
	if err := os.WriteFile(path, []byte("4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	poll()
	if !slices.Equal(got, []string{"3", "4"}) {
		t.Errorf("got %q", got)
	}
}

// Nodes that are added are followed from their first line, and those that are removed to their last.
func TestTailFollowsTheCluster(t *testing.T) {
	dir := t.TempDir()
	a, b := Log{"a", filepath.Join(dir, "a.log")}, Log{"b", filepath.Join(dir, "b.log")}
	write := func(l Log, text string) {
		t.Helper()
		file, err := os.OpenFile(l.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	synctest.Test(t, func(t *testing.T) {
		at := func(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339) }
		write(a, "a1\n")
		write(b, at(-time.Hour)+" of an earlier life\nold\n"+at(-time.Minute)+" ended\n")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var mu sync.Mutex
		logs := []Log{a}
		change := func(now ...Log) {
			mu.Lock()
			defer mu.Unlock()
			logs = now
		}
		var got []string
		go func() {
			time.Sleep(tailLook * 3 / 2)
			write(b, "b1\n"+at(0)+" b2\n")
			change(a, b)
			time.Sleep(3 * tailLook)
			write(b, "b3\n")
			write(a, "a2")
			change(b)
			time.Sleep(3 * tailLook)
			write(a, "not any more\n")
			write(b, "b4\n")
			time.Sleep(3 * tailLook)
			cancel()
		}()
		started := at(0)
		err := Tail(ctx, TailOptions{Lines: 10, Follow: true, Logs: func(context.Context) ([]Log, error) {
			mu.Lock()
			defer mu.Unlock()
			return logs, nil
		}}, func(node string, line []byte) error {
			got = append(got, node+":"+string(line))
			return nil
		})
		if len(got) > 2 && strings.HasSuffix(got[2], " b2") && got[2] > "b:"+started {
			got[2] = "b:b2"
		}
		slices.Sort(got)
		if want := []string{"a:a1", "a:a2", "b:b1", "b:b2", "b:b3", "b:b4"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
