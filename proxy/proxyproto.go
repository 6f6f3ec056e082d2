package proxy

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// PROXY protocol version 2, in binary: how a balancer tells the next one, or a
// node, whose connection it passes on. Source: HAProxy, doc/proxy-protocol.txt,
// section 2.2.
//
//	 0        12    13    14      16
//	┌───────────┬─────┬─────┬───────┬───────────────────────────┬──────┐
//	│ signature │ cmd │ fam │ length│ source, destination, ports │ TLVs │
//	└───────────┴─────┴─────┴───────┴───────────────────────────┴──────┘

const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyPrefix    = len(proxySignature) + 4
	// maxProxyHeader bounds what a trusted peer may put in front; version 2
	// would allow 64 KiB of TLVs.
	maxProxyHeader = 4096
)

var errProxyHeader = errors.New("malformed PROXY protocol header (version 2 is expected)")

// proxyHeader is what a PROXY header says. local is a connection of the peer's
// own, a health check for example, which has no other address.
type proxyHeader struct {
	local               bool
	source, destination netip.AddrPort
}

// parseProxyHeader reads a header at the start of p. n is its length, 0 while
// it is incomplete.
func parseProxyHeader(p []byte) (h proxyHeader, n int, err error) {
	if seen := min(len(p), len(proxySignature)); string(p[:seen]) != proxySignature[:seen] {
		return h, 0, errProxyHeader
	}
	if len(p) < proxyPrefix {
		return h, 0, nil
	}
	command, family := p[12], p[13]
	n = proxyPrefix + int(binary.BigEndian.Uint16(p[14:]))
	if command>>4 != 2 || command&15 > 1 || n > maxProxyHeader {
		return h, 0, errProxyHeader
	}
	if len(p) < n {
		return h, 0, nil
	}
	if command&15 == 0 {
		h.local = true
		return h, n, nil
	}
	var size int
	switch family {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	default: // anything else carries no address we could use
		h.local = true
		return h, n, nil
	}
	body := p[proxyPrefix:n]
	if len(body) < 2*size+4 {
		return h, 0, errProxyHeader
	}
	source, _ := netip.AddrFromSlice(body[:size])
	destination, _ := netip.AddrFromSlice(body[size : 2*size])
	ports := body[2*size:]
	h.source = netip.AddrPortFrom(source.Unmap(), binary.BigEndian.Uint16(ports))
	h.destination = netip.AddrPortFrom(destination.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return h, n, nil
}

// appendProxyHeader appends the header of a relayed connection. Addresses of
// two families are both written as IPv6.
func appendProxyHeader(dst []byte, source, destination netip.AddrPort) []byte {
	s, d := source.Addr().Unmap(), destination.Addr().Unmap()
	family, addresses := byte(0x11), 8
	if !s.Is4() || !d.Is4() {
		family, addresses = 0x21, 32
	}
	dst = append(dst, proxySignature...)
	dst = append(dst, 0x21, family)
	dst = binary.BigEndian.AppendUint16(dst, uint16(addresses+4))
	for _, a := range []netip.Addr{s, d} {
		if family == 0x11 {
			b := a.As4()
			dst = append(dst, b[:]...)
		} else {
			b := a.As16()
			dst = append(dst, b[:]...)
		}
	}
	dst = binary.BigEndian.AppendUint16(dst, source.Port())
	return binary.BigEndian.AppendUint16(dst, destination.Port())
}

// proxyHeader is the header of p for its node.
func (p *pair) proxyHeader() []byte {
	if source, destination, ok := p.origin(); ok {
		return appendProxyHeader(nil, source, destination)
	}
	source, err1 := p.client.RemoteAddr()
	destination, err2 := p.client.LocalAddr()
	if err1 != nil || err2 != nil {
		// The client has just gone: a header without an address, and its end follows.
		return append([]byte(proxySignature), 0x20, 0, 0, 0)
	}
	return appendProxyHeader(nil, source, destination)
}
