package master

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/erlmcp/erlmcp/proxy"
)

func TestKeyIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	s := proxy.Default()
	first, err := loadKey(&s, dir)
	if err != nil || len(first) < 32 {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	again, err := loadKey(&s, dir)
	if err != nil || !bytes.Equal(again, first) {
		t.Errorf("another key after a restart, %v", err)
	}
	other, err := loadKey(&s, t.TempDir())
	if err != nil || bytes.Equal(other, first) {
		t.Errorf("the same key elsewhere, %v", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestKeyFile(t *testing.T) {
	key := bytes.Repeat([]byte{0xab, 0xf7}, 16)
	for name, test := range map[string]struct{ text, want string }{
		"hexadecimal": {hex.EncodeToString(key) + "\n", ""},
		"base64":      {base64.StdEncoding.EncodeToString(key) + "\n", ""},
		"short":       {hex.EncodeToString(key[1:]), "the key has 31 bytes, at least 32 are needed"},
		"empty":       {"", "the key has 0 bytes, at least 32 are needed"},
		"a sentence":  {"correct horse battery staple", "the key is neither hexadecimal nor base64"},
	} {
		s := proxy.Default()
		s.Sticky.KeyFile = filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(s.Sticky.KeyFile, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := loadKey(&s, "/nonexistent")
		if test.want == "" && (err != nil || !bytes.Equal(got, key)) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
		if want := "lb.sticky.key_file: " + s.Sticky.KeyFile + ": " + test.want; test.want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	s := proxy.Default()
	s.Sticky.KeyFile = "/nonexistent/key"
	if _, err := loadKey(&s, ""); err == nil || !strings.Contains(err.Error(), "/nonexistent/key") {
		t.Error(err)
	}
}
