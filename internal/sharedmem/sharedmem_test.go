package sharedmem

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Two mappings of a file are the same memory, also when it is closed, and nobody can take it away from under them.
func TestShared(t *testing.T) {
	const size = 3 * 4096
	f, err := Create("erlmcp-test", size)
	if err != nil {
		t.Fatal(err)
	}
	one, err := Map(f, size)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Map(f, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(4096); runtime.GOOS == "linux" && err == nil {
		t.Error("the memory can be made shorter")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if one[size-1] = 7; len(two) != size || two[size-1] != 7 {
		t.Errorf("%d bytes, the last is %d", len(two), two[size-1])
	}
	for _, mem := range [][]byte{one, two} {
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	}
}
