package cmd

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

// wallClock is the wall clock of one process. A test sets it while the process runs, and leaves the clock
// of the machine alone: programs read clocks by a function that the kernel maps into them, and that
// function can be replaced.
type wallClock struct {
	memory *os.File
	offset int64 // address of the seconds that the replaced function adds
}

// clockCode asks the kernel for a clock, and adds the eight bytes in front of it to the seconds of
// CLOCK_REALTIME. Arguments are in edi (which clock) and rsi (where to put seconds and nanoseconds).
var clockCode = []byte{
	0xb8, 228, 0, 0, 0, // mov eax, SYS_clock_gettime
	0x0f, 0x05, // syscall
	0x85, 0xc0, // test eax, eax
	0x75, 14, // jnz return
	0x85, 0xff, // test edi, edi: CLOCK_REALTIME is 0
	0x75, 10, // jnz return
	0x48, 0x8b, 0x15, 0xe2, 0xff, 0xff, 0xff, // mov rdx, [rip-30]: the seconds
	0x48, 0x01, 0x16, // add [rsi], rdx
	0xc3, // return: ret
}

// takeClock replaces the function in a process. The test is skipped where the kernel forbids that.
func takeClock(t *testing.T, pid int) *wallClock {
	t.Helper()
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if errors.Is(err, os.ErrPermission) {
		t.Skipf("notice: clocks of processes cannot be set here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = memory.Close() })
	begin, end := vdso(t, pid)
	image := make([]byte, end-begin)
	if _, err := memory.ReadAt(image, begin); err != nil {
		t.Fatal(err)
	}
	entry := begin + clockFunction(t, image)
	room := end - 64 // behind the image, where the last page is empty
	if !bytes.Equal(image[len(image)-64:], make([]byte, 64)) {
		t.Skip("notice: clocks of processes cannot be set here: the vDSO has no room")
	}
	thaw := freeze(t, pid, begin, end)
	defer thaw()
	jump := binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(int32(room+8-(entry+5))))
	for _, part := range []struct {
		at   int64
		data []byte
	}{{room + 8, clockCode}, {entry, jump}} {
		if _, err := memory.WriteAt(part.data, part.at); err != nil {
			t.Skipf("notice: clocks of processes cannot be set here: %v", err)
		}
	}
	return &wallClock{memory, room}
}

// set makes the clock differ by that much from the machine's.
func (c *wallClock) set(t *testing.T, by time.Duration) {
	t.Helper()
	seconds := binary.LittleEndian.AppendUint64(nil, uint64(int64(by/time.Second)))
	if _, err := c.memory.WriteAt(seconds, c.offset); err != nil && !errors.Is(err, io.EOF) { // EOF: it has ended
		t.Fatal(err)
	}
}

// vdso is where the kernel's functions are mapped.
func vdso(t *testing.T, pid int) (begin, end int64) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, "[vdso]\n") {
			if _, err := fmt.Sscanf(line, "%x-%x", &begin, &end); err != nil {
				t.Fatal(err)
			}
			return begin, end
		}
	}
	t.Skip("notice: clocks of processes cannot be set here: there is no vDSO")
	return 0, 0
}

// clockFunction is where in the image of a vDSO the function is that tells clocks.
func clockFunction(t *testing.T, image []byte) int64 {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return int64(s.Value)
		}
	}
	t.Fatal("the vDSO tells no clock")
	return 0
}

// freeze stops all threads of a process, none of them between two addresses.
func freeze(t *testing.T, pid int, begin, end int64) (thaw func()) {
	t.Helper()
	thaw = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	waittest.Until(t, time.Minute, fmt.Sprintf("process %d is frozen", pid), func() bool {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if frozen(pid, begin, end) {
			return true
		}
		thaw()
		return false
	})
	return thaw
}

func frozen(pid int, begin, end int64) bool {
	inside := false
	return waittest.Within(time.Second, func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		stopped := 0
		for _, task := range tasks {
			stat, _ := os.ReadFile(task + "/stat")
			if _, state, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(state, "T") {
				break
			}
			var pc int64 // the last of what the kernel tells about a thread that does not run
			where, _ := os.ReadFile(task + "/syscall")
			fields := strings.Fields(string(where))
			if len(fields) == 0 {
				break
			}
			if _, err := fmt.Sscanf(fields[len(fields)-1], "0x%x", &pc); err != nil || pc >= begin && pc < end {
				inside = true
				return true
			}
			stopped++
		}
		return len(tasks) > 0 && stopped == len(tasks)
	}) && !inside
}
