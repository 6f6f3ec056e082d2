package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Sizes and constants of linux/inet_diag.h and linux/netlink.h. Netlink headers are in host byte
// order, ports and addresses in network order.
const (
	headerSize    = unix.NLMSG_HDRLEN
	requestSize   = 56 // struct inet_diag_req_v2
	getSock       = 18 // TCPDIAG_GETSOCK, the older request
	getSockSize   = 60 // struct inet_diag_req
	diagSize      = 72 // struct inet_diag_msg
	attrHeader    = unix.NLA_HDRLEN
	attrBytecode  = 1  // INET_DIAG_REQ_BYTECODE
	attrOnly6     = 11 // INET_DIAG_SKV6ONLY
	stateEstab    = unix.BPF_TCP_ESTABLISHED
	stateListen   = unix.BPF_TCP_LISTEN
	offsetState   = 1
	offsetSport   = 4
	offsetSource  = 8
	offsetInode   = 68
	errMessageMin = 4 // the errno at the start of struct nlmsgerr
)

var errMalformed = errors.New("malformed netlink message")

// appendRequest appends a dump request for the TCP sockets of one address family that are in one
// of the states (a mask, 1 << state) and pass the filter.
func appendRequest(b []byte, family uint8, states uint32, f filter) []byte {
	ne := binary.NativeEndian
	attr := attrHeader + len(f)
	b = ne.AppendUint32(b, uint32(headerSize+requestSize+attr))
	b = ne.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = ne.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = append(b, make([]byte, 8)...) // sequence and port id: one request at a time, the kernel fills in

	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = ne.AppendUint32(b, states)
	b = append(b, make([]byte, 48)...) // struct inet_diag_sockid: any

	b = ne.AppendUint16(b, uint16(attr))
	b = ne.AppendUint16(b, attrBytecode)
	return append(b, f...)
}

// appendWholeRequest appends the same request for both families at once. Only the older form can ask
// that, and it saves the kernel a second walk over its table, which is most of the work where there are
// many connections.
func appendWholeRequest(b []byte, states uint32, f filter) []byte {
	ne := binary.NativeEndian
	attr := attrHeader + len(f)
	b = ne.AppendUint32(b, uint32(headerSize+getSockSize+attr))
	b = ne.AppendUint16(b, getSock)
	b = ne.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = append(b, make([]byte, 8)...)

	b = append(b, 0, 0, 0, 0)          // the family is not looked at
	b = append(b, make([]byte, 48)...) // struct inet_diag_sockid: any
	b = ne.AppendUint32(b, states)
	b = append(b, make([]byte, 4)...) // idiag_dbs, not used

	b = ne.AppendUint16(b, uint16(attr))
	b = ne.AppendUint16(b, attrBytecode)
	return append(b, f...)
}

// parse calls each for every socket in a datagram from the kernel and reports whether the dump is
// complete. Errors are those the kernel sent, as errno, or errMalformed.
func parse(b []byte, each func(socket)) (done bool, err error) {
	ne := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < headerSize {
			return false, fmt.Errorf("%w: %d bytes left", errMalformed, len(b))
		}
		size := int(ne.Uint32(b))
		if size < headerSize || size > len(b) {
			return false, fmt.Errorf("%w: length %d of %d", errMalformed, size, len(b))
		}
		body := b[headerSize:size]
		switch kind := ne.Uint16(b[4:]); kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if len(body) >= errMessageMin {
				if errno := int32(ne.Uint32(body)); errno < 0 {
					return true, unix.Errno(-errno)
				}
			}
			return true, nil
		case unix.SOCK_DIAG_BY_FAMILY, getSock:
			s, err := parseSocket(body)
			if err != nil {
				return false, err
			}
			each(s)
		}
		b = b[min(len(b), align(size)):]
	}
	return false, nil
}

// parseSocket reads a struct inet_diag_msg and the one attribute of interest.
func parseSocket(b []byte) (socket, error) {
	if len(b) < diagSize {
		return socket{}, fmt.Errorf("%w: socket of %d bytes", errMalformed, len(b))
	}
	var addr netip.Addr
	source := b[offsetSource:]
	switch b[0] {
	case unix.AF_INET:
		addr = netip.AddrFrom4([4]byte(source))
	case unix.AF_INET6:
		addr = netip.AddrFrom16([16]byte(source))
	default:
		return socket{}, fmt.Errorf("%w: address family %d", errMalformed, b[0])
	}
	s := socket{
		local:  netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[offsetSport:])),
		inode:  binary.NativeEndian.Uint32(b[offsetInode:]),
		listen: b[offsetState] == stateListen,
	}
	if s.listen {
		s.only6 = only6(b[diagSize:])
	}
	return s, nil
}

// only6 looks for the IPV6_V6ONLY attribute; what cannot be read counts as absent.
func only6(attrs []byte) bool {
	for len(attrs) >= attrHeader {
		size := int(binary.NativeEndian.Uint16(attrs))
		if size < attrHeader || size > len(attrs) {
			return false
		}
		if binary.NativeEndian.Uint16(attrs[2:]) == attrOnly6 {
			return size > attrHeader && attrs[attrHeader] != 0
		}
		attrs = attrs[min(len(attrs), align(size)):]
	}
	return false
}

// align rounds up to the 4 bytes at which messages and attributes begin.
func align(n int) int { return (n + 3) &^ 3 }
