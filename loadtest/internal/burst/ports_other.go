//go:build !linux

package burst

import "golang.org/x/sys/unix"

// ephemeralPorts is how many connections there can be from one address to another address and port.
func ephemeralPorts() int {
	first, err := unix.SysctlUint32("net.inet.ip.portrange.first")
	if err != nil {
		return 0
	}
	last, err := unix.SysctlUint32("net.inet.ip.portrange.last")
	if err != nil || last < first {
		return 0
	}
	return int(last-first) + 1
}
