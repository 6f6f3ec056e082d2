// Package proxyproto reads and writes headers of the PROXY protocol: how a balancer tells the next one, or a
// node, whose connection it passes on. Source: HAProxy, doc/proxy-protocol.txt. Version 1, section 2.1, is a line
// of text; version 2, section 2.2, is binary:
//
//	PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 CR LF
//	PROXY UNKNOWN … CR LF
//
//	 0        12    13    14      16
//	┌───────────┬─────┬─────┬───────┬───────────────────────────┬──────┐
//	│ signature │ cmd │ fam │ length│ source, destination, ports │ TLVs │
//	└───────────┴─────┴─────┴───────┴───────────────────────────┴──────┘
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// MaxHeader bounds what a peer may put in front, in bytes; version 2 would allow 64 KiB of TLVs.
const MaxHeader = 4096

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	prefixLen = len(signature) + 4

	lineBegin = "PROXY "
	minLine   = len("PROXY UNKNOWN\r\n")
	maxLine   = 107 // with its CR LF
)

// ErrHeader is returned for what does not begin with a header.
var ErrHeader = errors.New("malformed PROXY protocol header, or none")

// Header is what a PROXY header says. Local is a connection of the peer's
// own, a health check for example, which has no other address.
type Header struct {
	Local               bool
	Source, Destination netip.AddrPort
}

// Parse reads a header of either version at the start of p. n is its
// length, 0 while it is incomplete.
func Parse(p []byte) (h Header, n int, err error) {
	if seen := min(len(p), len(lineBegin)); seen > 0 && string(p[:seen]) == lineBegin[:seen] {
		return parseLine(p)
	}
	return parseBinary(p)
}

// Read reads a header of either version from r, and nothing behind it.
func Read(r io.Reader) (h Header, err error) {
	var room [MaxHeader]byte
	for size := 0; ; {
		h, n, err := Parse(room[:size])
		if err != nil || n > 0 {
			return h, err
		}
		more := left(room[:size])
		if _, err := io.ReadFull(r, room[size:size+more]); err != nil {
			return h, fmt.Errorf("PROXY header: %w", err)
		}
		size += more
	}
}

// parseLine reads a header of version 1.
func parseLine(p []byte) (h Header, n int, err error) {
	n = bytes.IndexByte(p[:min(len(p), maxLine)], '\n') + 1
	switch {
	case n == 0 && len(p) < maxLine:
		return h, 0, nil
	case n < minLine || p[n-2] != '\r':
		return h, 0, ErrHeader
	}
	family, rest, _ := strings.Cut(string(p[len(lineBegin):n-2]), " ")
	if family == "UNKNOWN" {
		return Header{Local: true}, n, nil // whatever follows means nothing
	}
	words := strings.Split(rest, " ")
	if len(words) != 4 || family != "TCP4" && family != "TCP6" {
		return h, 0, ErrHeader
	}
	var errs [2]error
	h.Source, errs[0] = addressOfLine(family, words[0], words[2])
	h.Destination, errs[1] = addressOfLine(family, words[1], words[3])
	if errs[0] != nil || errs[1] != nil {
		return Header{}, 0, ErrHeader
	}
	return h, n, nil
}

func addressOfLine(family, host, port string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" || addr.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, ErrHeader
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, ErrHeader
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}

// left is how many bytes of a header, of which p is the incomplete beginning, are still to
// come at least.
func left(p []byte) int {
	switch {
	case len(p) < minLine:
		return minLine - len(p) // the shortest of both versions
	case p[0] == lineBegin[0]:
		return 1
	case len(p) < prefixLen:
		return prefixLen - len(p)
	}
	return prefixLen + int(binary.BigEndian.Uint16(p[14:])) - len(p)
}

// parseBinary reads a header of version 2.
func parseBinary(p []byte) (h Header, n int, err error) {
	if seen := min(len(p), len(signature)); string(p[:seen]) != signature[:seen] {
		return h, 0, ErrHeader
	}
	if len(p) < prefixLen {
		return h, 0, nil
	}
	command, family := p[12], p[13]
	n = prefixLen + int(binary.BigEndian.Uint16(p[14:]))
	if command>>4 != 2 || command&15 > 1 || n > MaxHeader {
		return h, 0, ErrHeader
	}
	if len(p) < n {
		return h, 0, nil
	}
	if command&15 == 0 {
		h.Local = true
		return h, n, nil
	}
	var size int
	switch family {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	default: // anything else carries no address we could use
		h.Local = true
		return h, n, nil
	}
	body := p[prefixLen:n]
	if len(body) < 2*size+4 {
		return h, 0, ErrHeader
	}
	source, _ := netip.AddrFromSlice(body[:size])
	destination, _ := netip.AddrFromSlice(body[size : 2*size])
	ports := body[2*size:]
	h.Source = netip.AddrPortFrom(source.Unmap(), binary.BigEndian.Uint16(ports))
	h.Destination = netip.AddrPortFrom(destination.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return h, n, nil
}

// Append appends the header, of version 2, of a relayed connection. Addresses of
// two families are both written as IPv6.
func Append(dst []byte, source, destination netip.AddrPort) []byte {
	s, d := source.Addr().Unmap(), destination.Addr().Unmap()
	family, addresses := byte(0x11), 8
	if !s.Is4() || !d.Is4() {
		family, addresses = 0x21, 32
	}
	dst = append(dst, signature...)
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

// AppendLocal appends the header, of version 2, of a connection without an address.
func AppendLocal(dst []byte) []byte {
	return append(append(dst, signature...), 0x20, 0, 0, 0)
}
