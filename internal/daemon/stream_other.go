//go:build !linux

package daemon

import "golang.org/x/sys/unix"

// replaceStream makes a standard stream the file of another descriptor.
func replaceStream(file, stream int) error { return unix.Dup2(file, stream) }
