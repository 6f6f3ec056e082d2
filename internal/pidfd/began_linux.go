package pidfd

import (
	"bytes"
	"fmt"
	"os"
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
