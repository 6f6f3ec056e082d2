package accesslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

type probe struct{ dropped, failed atomic.Int64 }

func (p *probe) open(path string) *Log {
	return Open(Options{
		Path:    path,
		Dropped: func(n int) { p.dropped.Add(int64(n)) },
		Failed:  func(string, error) { p.failed.Add(1) },
	})
}

func (l *Log) say(text string) {
	if room := l.Line(); room != nil {
		l.Commit(append(append(room, text...), '\n'))
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLinesOfSeveralLogsStayWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	var p probe
	logs := []*Log{p.open(path), p.open(path)}
	const each = 3000
	done := make(chan struct{})
	for k, l := range logs {
		go func() {
			for i := range each {
				l.say(strings.Repeat(fmt.Sprint(k), 20+i%300))
			}
			l.Close()
			done <- struct{}{}
		}()
	}
	<-done
	<-done
	lines := strings.Split(strings.TrimSuffix(content(t, path), "\n"), "\n")
	if got := len(lines) + int(p.dropped.Load()); got != 2*each {
		t.Errorf("%d lines and %d dropped of %d", len(lines), p.dropped.Load(), 2*each)
	}
	for _, line := range lines {
		if strings.Trim(line, line[:1]) != "" {
			t.Fatalf("mixed line %q", line)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("the file is %v, %v: others can read it", info.Mode(), err)
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	var p probe
	l := p.open(path)
	l.say("one")
	l.Flush()
	waittest.Until(t, 10*time.Second, "the first line", func() bool { text, _ := os.ReadFile(path); return string(text) == "one\n" })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.say("two")
	l.Reopen()
	l.Close()
	if content(t, path+".1") != "one\n" || content(t, path) != "two\n" || p.dropped.Load() != 0 {
		t.Errorf("old %q, new %q, %d dropped", content(t, path+".1"), content(t, path), p.dropped.Load())
	}
}

func TestRenamedFileIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	var p probe
	l := p.open(path)
	defer l.Close()
	waittest.Until(t, 10*time.Second, "the file", func() bool { _, err := os.Stat(path); return err == nil })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, 10*time.Second, "a new file", func() bool {
		l.say("line")
		l.Flush()
		_, err := os.Stat(path)
		return err == nil
	})
}

func TestUnwritable(t *testing.T) {
	for name, path := range map[string]string{"full": "/dev/full", "no directory": filepath.Join(t.TempDir(), "none", "access.log")} {
		t.Run(name, func(t *testing.T) {
			if name == "full" {
				if _, err := os.Stat(path); err != nil {
					t.Skip("no " + path)
				}
			}
			var p probe
			l := p.open(path)
			for range 5 {
				l.say("line")
			}
			l.Close()
			if p.dropped.Load() != 5 || p.failed.Load() != 1 {
				t.Errorf("%d dropped, %d complaints; want 5 and 1", p.dropped.Load(), p.failed.Load())
			}
		})
	}
}

// A writer that does not come along costs lines, and never the loop's time.
func TestBusyWriterDropsLines(t *testing.T) {
	var p probe
	l := &Log{
		o:    Options{Path: Standard, Dropped: func(n int) { p.dropped.Add(int64(n)) }},
		room: make([]byte, 0, bufferSize), full: make(chan []byte, 2), free: make(chan []byte, 2),
	}
	l.free <- make([]byte, 0, bufferSize)
	line := strings.Repeat("x", MaxLine-1)
	const lines = 3 * bufferSize / MaxLine
	for range lines {
		l.say(line)
	}
	if got, want := p.dropped.Load(), int64(bufferSize/MaxLine); got != want {
		t.Errorf("%d lines dropped, want %d", got, want)
	}
	l.free <- (<-l.full)[:0]
	before := p.dropped.Load()
	l.say(line)
	if p.dropped.Load() != before {
		t.Error("dropped a line although a buffer had come back")
	}
}

func TestLineDoesNotAllocate(t *testing.T) {
	var p probe
	l := p.open(os.DevNull)
	defer l.Close()
	text := []byte("a \"line\"")
	if n := testing.AllocsPerRun(1000, func() {
		if room := l.Line(); room != nil {
			l.Commit(append(AppendString(room, text, 100), '\n'))
		}
	}); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\\x00\n\x7f", "\xff\xfe", "é漢😀", "\u2028"} {
		f.Add([]byte(s), 20)
	}
	f.Fuzz(func(t *testing.T, s []byte, limit int) {
		limit = min(max(limit, 0), 1<<16)
		out := AppendString(nil, s, limit)
		if len(out) > limit+2 {
			t.Fatalf("%d bytes, limit %d", len(out), limit)
		}
		var got, want string
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		oracle, _ := json.Marshal(string(s))
		if err := json.Unmarshal(oracle, &want); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(want, got) || limit >= 6*len(s) && got != want {
			t.Fatalf("%q became %q, want %q", s, got, want)
		}
		if bytes.ContainsAny(out, "\n\r") {
			t.Fatal("a line break in a line")
		}
	})
}
