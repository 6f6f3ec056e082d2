//go:build !linux

package daemon

import "golang.org/x/sys/unix"

// replace makes a descriptor another name of the file behind fd, for what this process starts too.
func replace(fd, by int) error { return unix.Dup2(fd, by) }
