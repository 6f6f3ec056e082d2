package burst

import "github.com/erlmcp/erlmcp/internal/proc"

// ephemeralPorts is how many connections there can be from one address to another address and port.
func ephemeralPorts() int {
	var low, high int64
	if !proc.Scan("/proc/sys/net/ipv4/ip_local_port_range", &low, &high) {
		return 0
	}
	return int(high - low + 1)
}
