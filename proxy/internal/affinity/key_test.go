package affinity

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestParseKey(t *testing.T) {
	key := make([]byte, MinKey)
	for i := range key {
		key[i] = byte(0xfb + i)
	}
	for name, text := range map[string]string{
		"hex":            hex.EncodeToString(key),
		"hex, capitals":  strings.ToUpper(hex.EncodeToString(key)),
		"base64":         base64.StdEncoding.EncodeToString(key),
		"base64, bare":   base64.RawStdEncoding.EncodeToString(key),
		"base64url":      base64.URLEncoding.EncodeToString(key),
		"base64url,bare": base64.RawURLEncoding.EncodeToString(key),
		"white space":    "\n " + hex.EncodeToString(key) + "\r\n",
	} {
		if got, err := ParseKey(text); err != nil || !bytes.Equal(got, key) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
	long := bytes.Repeat(key, 2)
	if got, err := ParseKey(hex.EncodeToString(long)); err != nil || !bytes.Equal(got, long) {
		t.Errorf("a longer key: %x, %v", got, err)
	}
	for text, want := range map[string]string{
		"":                             "0 bytes, at least 32 are needed",
		hex.EncodeToString(key[1:]):    "31 bytes, at least 32 are needed",
		"not a key, but a long text !": "neither hexadecimal nor base64",
		"x" + hex.EncodeToString(key):  "neither hexadecimal nor base64",
	} {
		_, err := ParseKey(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if err != nil && len(text) > 0 && strings.Contains(err.Error(), text) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
}

func TestLoadKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "affinity.key")
	keys := make([][]byte, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			key, err := LoadKey(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	all.Wait()
	for _, key := range keys {
		if len(key) != MinKey || !bytes.Equal(key, keys[0]) || bytes.Equal(key, make([]byte, MinKey)) {
			t.Fatalf("keys %x", keys)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

func TestBadKeyFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := strings.Repeat("ab", MinKey)
	for path, want := range map[string]string{
		write("open", good, 0o644):                               "can be read by others (mode 0644)",
		write("group", good, 0o640):                              "can be read by others",
		write("short", "abcd", 0o600):                            "at least 32 are needed",
		write("text", "hello, world!", 0o600):                    "neither",
		write("empty", "", 0o600):                                "0 bytes",
		write("large", strings.Repeat("ab ", maxKeyFile), 0o600): "neither",
		dir:                                  "not a regular file",
		filepath.Join(dir, "none", "a.key"):  "no such file or directory",
		filepath.Join(dir, "open", "as.dir"): "not a directory",
	} {
		if _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

func TestKeyOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give a file away")
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(strings.Repeat("ab", MinKey)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 54321, 54321); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), "belongs to user 54321, not to user 0") {
		t.Errorf("got %v", err)
	}
}
