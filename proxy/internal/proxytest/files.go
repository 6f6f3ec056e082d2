package proxytest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/erlmcp/erlmcp/internal/freeport"
)

// StateDir makes a directory with a path short enough for a socket.
func StateDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// SyncBuffer is a buffer that several goroutines may write and read.
type SyncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *SyncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *SyncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Overwrite writes a file in place, or makes one.
func Overwrite(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Replace puts a file into place at once.
func Replace(t testing.TB, name string, data []byte) {
	t.Helper()
	Overwrite(t, name+".next", data)
	if err := os.Rename(name+".next", name); err != nil {
		t.Fatal(err)
	}
}

// WriteFile makes a file with a name in a directory of its own, and returns its path.
func WriteFile(t testing.TB, name, text string) string {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// FreeAddress is an address, with a port of 127.0.0.1, that nobody listens on, and that nobody else is given.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ports, err := freeport.Find(1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0])
}

// OpenFiles counts this process's descriptors.
func OpenFiles(t testing.TB) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// MiB turns bytes into MiB, rounded down.
func MiB(sizes []uint64) (list []uint64) {
	for _, n := range sizes {
		list = append(list, n>>20)
	}
	return list
}
