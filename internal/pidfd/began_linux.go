package pidfd

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"github.com/erlmcp/erlmcp/internal/proc"
)

// Began is when the process with that pid began, in clock ticks since the machine did; "" when that
// cannot be told. With the pid it tells a process from all others of one uptime.
func Began(pid int) string {
	_, fields, err := proc.Stat(pid)
	if err != nil {
		return ""
	}
	return fields[19] // of proc_pid_stat(5) the 22nd
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
