//go:build !linux

package prefork

const hashes = false
