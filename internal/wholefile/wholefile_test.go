package wholefile

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	for _, c := range []struct {
		text string
		mode fs.FileMode
	}{{"new", 0o600}, {"readable", 0o644}, {"", 0o600}} { // a mode is not that of the file before
		if err := Write(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != c.text || info.Mode() != c.mode {
			t.Errorf("got %q, %v, %v, want %q, %v", text, info.Mode(), err, c.text, c.mode)
		}
	}
	before, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if err := Write(path, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := before.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("who had opened it sees %v, %v", info, err)
	}
}

// What cannot be written leaves nothing behind, and what was there as it was.
func TestWriteThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("text"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if err := Write(filepath.Join(dir, "none", "file"), nil, 0o600); err == nil {
		t.Error("no error without a directory")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
