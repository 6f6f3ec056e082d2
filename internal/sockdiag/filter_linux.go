package sockdiag

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A filter is a program of the kernel's socket filter machine (struct inet_diag_bc_op in
// linux/inet_diag.h, run by inet_diag_bc_run). Each instruction is
//
//	code u8 | yes u8 | no u16          yes, no: bytes to go forward from here
//
// followed, for S_COND, by struct inet_diag_hostcond
//
//	family u8 | prefix_len u8 | pad u16 | port s32 (−1 any) | address, 0, 4 or 16 bytes
//
// A program that ends exactly at its end accepts; one that jumps four bytes beyond it rejects. The
// kernel's verifier follows only the yes path, which therefore has to visit every instruction: an
// accepted condition goes on to a jump to the end, and that jump names the next condition as its
// own, never taken, yes.
//
//	cond 1 ─yes─▶ jmp end
//	  │no
//	cond 2 ─yes─▶ jmp end
//	  │no
//	cond 3 ─yes─▶ end: accept
//	  └no──────▶ end + 4: reject
type filter []byte

const (
	opJump       = 1  // INET_DIAG_BC_JMP
	opSourceCond = 7  // INET_DIAG_BC_S_COND
	opSize       = 4  // struct inet_diag_bc_op
	hostCondSize = 8  // struct inet_diag_hostcond without the address
	maxFilter    = 64 // conditions in one program: 64 × 32 bytes stay far below the 64 KiB of an attribute
)

// compileFilter returns the program that accepts sockets of any of the servers, at most maxFilter.
func compileFilter(servers []netip.AddrPort) filter {
	size := (len(servers) - 1) * opSize // the jumps
	for _, s := range servers {
		size += opSize + hostCondSize + s.Addr().BitLen()/8
	}
	f := make(filter, 0, size)
	for i, s := range servers {
		here := opSize + hostCondSize + s.Addr().BitLen()/8
		no := here + opSize
		if last := i == len(servers)-1; !last {
			f = f.source(here, no, s)
			f = f.op(opJump, opSize, size-len(f))
			continue
		}
		f = f.source(here, no, s)
	}
	return f
}

func (f filter) op(code, yes, no int) filter {
	f = append(f, byte(code), byte(yes))
	return binary.NativeEndian.AppendUint16(f, uint16(no))
}

// source appends the condition "local address and port are those of s". A condition of the family
// AF_INET also matches IPv4-mapped addresses.
func (f filter) source(yes, no int, s netip.AddrPort) filter {
	addr := s.Addr()
	family := unix.AF_UNSPEC
	switch {
	case addr.Is4():
		family = unix.AF_INET
	case addr.Is6():
		family = unix.AF_INET6
	}
	f = f.op(opSourceCond, yes, no)
	f = append(f, byte(family), byte(addr.BitLen()), 0, 0)
	f = binary.NativeEndian.AppendUint32(f, uint32(s.Port()))
	return append(f, addr.AsSlice()...)
}
