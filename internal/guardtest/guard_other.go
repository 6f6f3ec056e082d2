//go:build !linux

package guardtest

// Guard returns.
func Guard() {}
