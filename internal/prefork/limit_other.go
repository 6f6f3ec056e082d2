//go:build !darwin

package prefork

// maxFiles is the highest soft limit the kernel accepts.
func maxFiles(hard uint64) (uint64, error) { return hard, nil }
