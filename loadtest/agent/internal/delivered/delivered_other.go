//go:build !linux

// Package delivered knows what has become of bytes that were written to a socket.
package delivered

// All reports whether the other side's kernel has all that was written to a connection, as far as can be told: here it cannot.
func All(int) bool { return true }
