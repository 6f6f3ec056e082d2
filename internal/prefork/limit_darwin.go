package prefork

import "golang.org/x/sys/unix"

// maxFiles is the highest soft limit the kernel accepts: the hard limit is usually "infinity",
// which it refuses.
func maxFiles(hard uint64) (uint64, error) {
	n, err := unix.SysctlUint32("kern.maxfilesperproc")
	if err != nil {
		return 0, err
	}
	return min(hard, uint64(n)), nil
}
