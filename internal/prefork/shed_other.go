//go:build !linux

package prefork

import "runtime/debug"

// Shed gives back the memory that only start-up needed: the free heap.
func Shed() { debug.FreeOSMemory() }

// dropClean is not known here.
func dropClean() {}
