// Package freeport finds ports for tests of daemons that close their ports and open them again. The kernel
// gives one that it chose itself to the next who asks, as soon as it is closed.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
)

const (
	lowest = 10_000
	// highest is below what the kernel chooses from (net.ipv4.ip_local_port_range) by default.
	highest = 32_767
	tries   = 1000
)

// claims keep other processes that call Find off the ports: UDP sockets of the same numbers.
var claims struct {
	sync.Mutex
	held []net.PacketConn
}

// Find returns n TCP ports of 127.0.0.1 that nobody listens on. No two calls on this machine return the same
// port while the processes live that called.
func Find(n int) (ports []int, err error) {
	claims.Lock()
	defer claims.Unlock()
	for range tries {
		if len(ports) == n {
			return ports, nil
		}
		port := lowest + rand.IntN(highest-lowest+1)
		if port < kernelsFirst() && claim(port) {
			ports = append(ports, port)
		}
	}
	return nil, errors.New("freeport: all ports seem to be in use")
}

// claim keeps a port for this process if it is free.
func claim(port int) bool {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	c, err := net.ListenPacket("udp4", address)
	if err != nil {
		return false
	}
	l, err := net.Listen("tcp4", address)
	if err != nil {
		c.Close()
		return false
	}
	l.Close()
	claims.held = append(claims.held, c)
	return true
}

// kernelsFirst is the first port that the kernel chooses itself.
var kernelsFirst = sync.OnceValue(func() int {
	first := highest + 1
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return first
	}
	if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &first); err != nil || first <= lowest {
		return highest + 1 // nothing can be kept from it
	}
	return first
})
