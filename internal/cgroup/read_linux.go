package cgroup

import "os"

// Read looks at the groups of this process.
func Read() Limits { return read(os.DirFS("/")) }

// MaxPids is how many processes and threads there may be in all groups of this process, whatever there are, and the file
// that says so; "" is no limit.
func MaxPids() (most int64, from string) { return maxPids(os.DirFS("/")) }
