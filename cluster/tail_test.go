package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func tailed(t *testing.T, logs []NodeLog, lines int) []string {
	t.Helper()
	var got []string
	err := Tail(t.Context(), logs, lines, false, func(node string, line []byte) error {
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
		if err := os.WriteFile(rotated(path, i), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	logs := []NodeLog{{"a", path}, {"none", filepath.Join(dir, "none.log")}}
	all := []string{"a:1", "a:2", "a:3", "a:4", "a:5", "a:6"}
	for n := range 8 {
		if got, want := tailed(t, logs, n), all[max(0, len(all)-n):]; !slices.Equal(got, want) {
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
	got := tailed(t, []NodeLog{{"a", path}}, 20_000)
	if len(got) != 20_000 || got[0] != "a:line 30000" || got[19_999] != "a:line 49999" {
		t.Errorf("%d lines from %s", len(got), got[0])
	}
}

// Every line is printed once and in order while the log is rotated many times a poll.
func TestTailFollowsRotation(t *testing.T) {
	const total = 20_000
	log := testLog(t, 2000, 500)
	log.write([]byte("line 0\n"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var printed atomic.Int64
	go func() {
		for ctx.Err() == nil && printed.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		for i := 1; i < total; i++ {
			log.write(fmt.Appendf(nil, "line %d\n", i))
			for ctx.Err() == nil && int64(i)-printed.Load() > 5000 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	done := errors.New("done")
	err := Tail(ctx, []NodeLog{{"a", log.path}}, 10, true, func(_ string, line []byte) error {
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
		err := Tail(ctx, []NodeLog{{"a", path}}, 10, true, func(_ string, line []byte) error {
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
	err := Tail(t.Context(), []NodeLog{{"a", path}}, 10, true, func(_ string, line []byte) error {
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
		if err := os.WriteFile(rotated(path, i), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		written := time.Now().Add(-time.Duration(i) * time.Minute)
		if err := os.Chtimes(rotated(path, i), written, written); err != nil {
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
