//go:build !linux

package pidfd

import (
	"strconv"

	"github.com/shirou/gopsutil/v4/process"
)

// Began is when the process with that pid began, in milliseconds; "" when that cannot be told.
func Began(pid int) string {
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return ""
	}
	ms, err := p.CreateTime()
	if err != nil || ms == 0 {
		return ""
	}
	return strconv.FormatInt(ms, 10)
}

// Owner is the user that the process with that pid runs as, really and effectively; ok is false when that
// cannot be told, and when these are two.
func Owner(pid int) (uid int, ok bool) {
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return 0, false
	}
	uids, err := p.Uids()
	if err != nil || len(uids) == 0 || len(uids) > 1 && uids[0] != uids[1] {
		return 0, false
	}
	return int(uids[0]), true
}
