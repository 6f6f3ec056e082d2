package pages

import "golang.org/x/sys/unix"

// remap has a mapping grow where it is, or elsewhere without a copy. What is none is left as it is.
func remap(b []byte, size int) (grown []byte, ok bool) {
	if cap(b) == 0 {
		return nil, false
	}
	grown, err := unix.Mremap(b[:cap(b)], size, unix.MREMAP_MAYMOVE)
	if err != nil {
		return nil, false
	}
	return grown[:len(b)], true
}
