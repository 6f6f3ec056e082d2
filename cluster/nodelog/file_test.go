package nodelog

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/erlmcp/erlmcp/internal/daemon"
	"github.com/erlmcp/erlmcp/internal/units"
)

func testLog(t *testing.T, maxSize units.Bytes, keep int) *File {
	t.Helper()
	f, err := Open(filepath.Join(t.TempDir(), "logs"), "n", Spec{MaxSize: maxSize, Keep: keep}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// contents returns a log from its oldest file to the current one.
func contents(t *testing.T, path string) string {
	t.Helper()
	var all string
	for i := 0; ; i++ {
		text, err := os.ReadFile(daemon.Rotated(path, i))
		if err != nil {
			return all
		}
		all = string(text) + all
	}
}

func TestLogRotatesBetweenLines(t *testing.T) {
	f := testLog(t, 100, 3)
	var want strings.Builder
	for i := range 20 {
		block := strings.Repeat(fmt.Sprintf("line %02d\n", i), 3)
		want.WriteString(block)
		f.write([]byte(block))
	}
	for i := range 4 {
		text, err := os.ReadFile(daemon.Rotated(f.path, i))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) == 0 || len(text) > 100 || !bytes.HasPrefix(text, []byte("line")) || text[len(text)-1] != '\n' {
			t.Errorf("file %d is %q", i, text)
		}
	}
	if _, err := os.Stat(daemon.Rotated(f.path, 4)); err == nil {
		t.Error("a fifth file is kept")
	}
	if got := contents(t, f.path); !strings.HasSuffix(want.String(), got) {
		t.Errorf("kept\n%s", got)
	}
}

func TestLogWithoutRotatedFiles(t *testing.T) {
	f := testLog(t, 20, 0)
	for i := range 9 {
		f.write(fmt.Appendf(nil, "line %d\n", i))
	}
	if got, want := contents(t, f.path), "line 8\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLogLineLongerThanAFile(t *testing.T) {
	f := testLog(t, 10, 2)
	f.write([]byte("a\n" + strings.Repeat("b", 50) + "\nc\n"))
	if got, want := contents(t, f.path), "a\n"+strings.Repeat("b", 50)+"\nc\n"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestLogSurvivesAFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	f := testLog(t, 1000, 1)
	f.write([]byte("before\n"))
	f.Close()
	moved := f.path + ".moved"
	if err := os.Rename(f.path, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", f.path); err != nil {
		t.Fatal(err)
	}
	f.write([]byte("lost\n"))
	f.write([]byte("lost too\n"))
	if got := f.Lost(); got != int64(len("lost\nlost too\n")) {
		t.Errorf("lost %d bytes", got)
	}
	if err := os.Rename(moved, f.path); err != nil {
		t.Fatal(err)
	}
	f.retry = time.Time{} // as if its second was over
	f.write([]byte("after\n"))
	got := contents(t, f.path)
	if !strings.HasPrefix(got, "before\n") || !strings.HasSuffix(got, "supervisor: 14 bytes of this log were lost: the file could not be written\nafter\n") {
		t.Errorf("got %q", got)
	}
}

func TestLogReplacesAFileTakenAway(t *testing.T) {
	f := testLog(t, 1000, 1)
	f.write([]byte("one\n"))
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	f.write([]byte("two\n"))
	if got := contents(t, f.path); got != "two\n" {
		t.Errorf("got %q", got)
	}
}

func TestLogEnding(t *testing.T) {
	f := testLog(t, 1<<20, 1)
	f.write([]byte("an earlier life\n"))
	f.Begin()
	if got := f.Ending(); got != "" {
		t.Errorf("nothing ends with %q", got)
	}
	for i := range 12 {
		f.write(fmt.Appendf(nil, "line %d\n", i))
	}
	f.Note("not the node's")
	got := f.Ending()
	if !strings.HasPrefix(got, "  line 2\n") || !strings.HasSuffix(got, "\n  line 11") {
		t.Errorf("got %q", got)
	}
}

func TestUnwritableLogs(t *testing.T) {
	_, err := Open("/dev/null/logs", "n", Spec{MaxSize: 1, Keep: 1}, nil)
	if err == nil || err.Error() != "cannot keep logs in /dev/null/logs: mkdir /dev/null: not a directory" {
		t.Errorf("got %v", err)
	}
}

// pieces reads its text in random pieces.
type pieces struct {
	text []byte
	rng  *rand.Rand
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(len(p.text), 1+p.rng.IntN(100_000))])
	p.text = p.text[n:]
	return n, nil
}

func TestPumpKeepsLinesWhole(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		var text, want bytes.Buffer
		for text.Len() < 600_000 {
			line := bytes.Repeat([]byte{'a' + byte(rng.IntN(26))}, rng.IntN(200))
			if rng.IntN(50) == 0 {
				line = bytes.Repeat([]byte("x"), pumpBuffer-2)
			}
			text.Write(append(line, '\n'))
		}
		text.WriteString("no end")
		want.Write(text.Bytes())
		want.WriteByte('\n')
		f := testLog(t, 128<<10, 100)
		f.Pump(&pieces{text.Bytes(), rng})
		if got := contents(t, f.path); got != want.String() {
			t.Fatalf("seed %d: %d bytes became %d", seed, want.Len(), len(got))
		}
	}
}

// A line of JSON stays one, up to the bound.
func TestPumpKeepsLongLines(t *testing.T) {
	for _, size := range []int{100_000, 1_000_000, 1 << 20, int(defaultMaxLine)} {
		f := testLog(t, 64*units.MiB, 1)
		line := `{"text":"` + strings.Repeat("x", size-len(`{"text":""}`)) + `"}`
		text := "before\n" + line + "\nafter\n" + strings.Repeat("short\n", 1000)
		f.Pump(&pieces{[]byte(text), rand.New(rand.NewPCG(1, 2))})
		if got := contents(t, f.path); got != text {
			t.Errorf("%d bytes of a line of %d became %d", len(text), size, len(got))
		}
		var longest int
		if err := Tail(t.Context(), TailOptions{Logs: these(Log{"n", f.path}), Lines: AllLines}, func(_ string, line []byte) error {
			longest = max(longest, len(line))
			return nil
		}); err != nil || longest != size {
			t.Errorf("the longest line of a log with one of %d bytes has %d, %v", size, longest, err)
		}
	}
}

// Longer ones are cut, between characters, where a mark says so.
func TestPumpCutsLongLines(t *testing.T) {
	const most = 1000
	text := strings.Repeat("é", 3*most) + "\nnext\n" + strings.Repeat("y", most) + "\n" + strings.Repeat("z", most+1)
	for seed := range uint64(20) {
		f := testLog(t, 64*units.MiB, 1)
		f.maxLine = most
		f.Pump(&pieces{[]byte(text), rand.New(rand.NewPCG(seed, 2))})
		got := contents(t, f.path)
		for line := range strings.Lines(got) {
			if len(line) > most+longestMark || !utf8.ValidString(line) {
				t.Fatalf("a line has %d bytes: %q", len(line), line)
			}
		}
		if whole := strings.ReplaceAll(got, lineGoesOn+lineWentOn, ""); whole != text+"\n" {
			t.Errorf("%d bytes became %d: %q", len(text), len(whole), whole)
		}
	}
}

// What is removed while a node runs is made anew, and nothing is lost.
func TestLogWhoseDirectoryIsRemoved(t *testing.T) {
	f := testLog(t, 1000, 1)
	var warned []string
	f.warn = func(text string) { warned = append(warned, text) }
	f.write([]byte("one\n"))
	if err := os.RemoveAll(filepath.Dir(f.path)); err != nil {
		t.Fatal(err)
	}
	f.write([]byte("two\n"))
	f.write([]byte("three\n"))
	got := contents(t, f.path)
	if !strings.HasSuffix(got, " supervisor: the directory of this log had been removed and was made anew\ntwo\nthree\n") || f.Lost() != 0 {
		t.Errorf("got %q, lost %d bytes", got, f.Lost())
	}
	if len(warned) != 1 {
		t.Errorf("warned %q", warned)
	}
	// What cannot be made anew is lost until it can, and said once.
	dir := filepath.Dir(f.path)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.write([]byte("lost\n"))
		f.retry = time.Time{} // as if its second was over
	}
	if f.Lost() != 15 || len(warned) != 2 {
		t.Errorf("lost %d bytes, warned %q", f.Lost(), warned)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	f.write([]byte("four\n"))
	if got := contents(t, f.path); !strings.Contains(got, "supervisor: 15 bytes of this log were lost") || !strings.HasSuffix(got, "\nfour\n") {
		t.Errorf("got %q", got)
	}
}

func TestEndingWithEmptyLines(t *testing.T) {
	log := testLog(t, 1<<20, 1)
	if got := log.Ending(); got != "" {
		t.Errorf("nothing ends with %q", got)
	}
	log.write([]byte("first\n\n2\n3\n4\n5\n6\n7\n8\n9\nlast\n\n"))
	if got := log.Ending(); !strings.HasPrefix(got, "  \n  2\n") || !strings.HasSuffix(got, "\n  last") {
		t.Errorf("ends with %q", got)
	}
}

func TestEndingOfBinary(t *testing.T) {
	f := testLog(t, minSize, 1)
	f.write([]byte("a\x1b[2Jb\tc\x00\xffé\n"))
	if got, want := f.Ending(), "  a·[2Jb\tc··é"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
