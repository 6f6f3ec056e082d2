package pidfd

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Began is when the process with that pid began, in clock ticks since the machine did; "" when that
// cannot be told. With the pid it tells a process from all others of one uptime.
func Began(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// PID (NAME) STATE …; the start is the 22nd field, NAME can hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return ""
	}
	return string(fields[19])
}

// Owner is the user that the process with that pid runs as, really and effectively; ok is false when that
// cannot be told, and when these are two.
func Owner(pid int) (uid int, ok bool) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range bytes.Lines(text) {
		if after, found := bytes.CutPrefix(line, []byte("Uid:")); found {
			f := bytes.Fields(after) // real, effective, saved, of files
			if len(f) < 2 || !bytes.Equal(f[0], f[1]) {
				return 0, false
			}
			uid, err := strconv.Atoi(string(f[0]))
			return uid, err == nil
		}
	}
	return 0, false
}
