// Package pages keeps long texts in memory of their own, outside the heap. They grow without being copied, the collector
// does not know them, and what they took is the system's again as soon as they are freed.
package pages

// Long is from how many bytes on a text is worth the system calls that memory of its own takes.
const Long = 256 << 10

// Grow returns a text with the bytes of b and room for size in all; a shorter one than Long stays on the heap. It takes b,
// which may be nil, or any memory of the heap, and otherwise has to be what Grow has returned, with the same beginning and
// capacity.
func Grow(b []byte, size int) []byte {
	if size <= cap(b) {
		return b
	}
	if size < Long {
		return append(make([]byte, 0, size), b...)
	}
	if grown, ok := remap(b, size); ok {
		return grown
	}
	grown, err := mapped(size)
	if err != nil { // the system has no more memory, or no more mappings for this process
		grown = make([]byte, size)
	}
	grown = grown[:copy(grown, b)]
	Free(b)
	return grown
}

// Free gives back what Grow has returned. It must not be used any more. Memory of the heap is left to the collector.
func Free(b []byte) {
	if cap(b) > 0 {
		unmap(b[:cap(b)])
	}
}
