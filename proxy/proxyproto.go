package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol: how a balancer tells the next one, or a node, whose connection it passes on.
// Source: HAProxy, doc/proxy-protocol.txt. Version 1, section 2.1, is a line of text; version 2,
// section 2.2, is binary:
//
//	PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 CR LF
//	PROXY UNKNOWN … CR LF
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

	proxyLine    = "PROXY "
	minProxyLine = len("PROXY UNKNOWN\r\n")
	maxProxyLine = 107 // with its CR LF
)

var errProxyHeader = errors.New("malformed PROXY protocol header, or none")

// proxyHeader is what a PROXY header says. local is a connection of the peer's
// own, a health check for example, which has no other address.
type proxyHeader struct {
	local               bool
	source, destination netip.AddrPort
}

// parseProxyHeader reads a header of either version at the start of p. n is its
// length, 0 while it is incomplete.
func parseProxyHeader(p []byte) (h proxyHeader, n int, err error) {
	if seen := min(len(p), len(proxyLine)); seen > 0 && string(p[:seen]) == proxyLine[:seen] {
		return parseProxyLine(p)
	}
	return parseProxyBinary(p)
}

// parseProxyLine reads a header of version 1.
func parseProxyLine(p []byte) (h proxyHeader, n int, err error) {
	n = bytes.IndexByte(p[:min(len(p), maxProxyLine)], '\n') + 1
	switch {
	case n == 0 && len(p) < maxProxyLine:
		return h, 0, nil
	case n < minProxyLine || p[n-2] != '\r':
		return h, 0, errProxyHeader
	}
	family, rest, _ := strings.Cut(string(p[len(proxyLine):n-2]), " ")
	if family == "UNKNOWN" {
		return proxyHeader{local: true}, n, nil // whatever follows means nothing
	}
	words := strings.Split(rest, " ")
	if len(words) != 4 || family != "TCP4" && family != "TCP6" {
		return h, 0, errProxyHeader
	}
	var errs [2]error
	h.source, errs[0] = addressOfLine(family, words[0], words[2])
	h.destination, errs[1] = addressOfLine(family, words[1], words[3])
	if errs[0] != nil || errs[1] != nil {
		return proxyHeader{}, 0, errProxyHeader
	}
	return h, n, nil
}

func addressOfLine(family, host, port string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" || addr.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, errProxyHeader
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, errProxyHeader
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}

// proxyHeaderLeft is how many bytes of a header, of which p is the incomplete beginning, are still to
// come at least.
func proxyHeaderLeft(p []byte) int {
	switch {
	case len(p) < minProxyLine:
		return minProxyLine - len(p) // the shortest of both versions
	case p[0] == proxyLine[0]:
		return 1
	case len(p) < proxyPrefix:
		return proxyPrefix - len(p)
	}
	return proxyPrefix + int(binary.BigEndian.Uint16(p[14:])) - len(p)
}

// parseProxyBinary reads a header of version 2.
func parseProxyBinary(p []byte) (h proxyHeader, n int, err error) {
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

// appendProxyHeader appends the header, of version 2, of a relayed connection. Addresses of
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
