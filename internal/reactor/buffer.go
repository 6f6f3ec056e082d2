package reactor

import (
	"math/bits"

	"github.com/erlmcp/erlmcp/internal/pages"
)

// A buffer holds bytes in hand: input a handler did not consume, or output the
// kernel did not take. It is borrowed from the loop's pool and given back as
// soon as it is empty, so that an idle connection holds none.
type buffer struct {
	data []byte // data[off:] is what is held
	off  int
	next *buffer // in the pool
}

func (b *buffer) bytes() []byte { return b.data[b.off:] }

// consume drops the first n held bytes.
func (b *buffer) consume(n int) { b.off += n }

const (
	minClass = 10 // 1 KiB
	maxClass = 18 // pages.Long: larger ones are outside the heap
	// poolBytes bounds what the free lists of one loop keep.
	poolBytes = 4 << 20
)

// pool keeps free buffers by size, each a power of two.
type pool struct {
	free  [maxClass - minClass + 1]*buffer
	bytes int      // of the free ones
	lent  int      // bytes of those that are in use
	spent [][]byte // large ones that are to be freed when nobody looks at them any more
}

// get returns an empty buffer with room for at least n bytes.
func (p *pool) get(n int) *buffer {
	class := max(bits.Len(uint(max(n, 1)-1)), minClass)
	p.lent += 1 << class
	if class > maxClass {
		return &buffer{data: pages.Grow(nil, 1<<class)}
	}
	list := &p.free[class-minClass]
	b := *list
	if b == nil {
		return &buffer{data: make([]byte, 0, 1<<class)}
	}
	*list, b.next = b.next, nil
	p.bytes -= cap(b.data)
	return b
}

func (p *pool) put(b *buffer) {
	p.lent -= cap(b.data)
	class := bits.Len(uint(cap(b.data))) - 1
	if class > maxClass {
		p.spent = append(p.spent, b.data)
		return
	}
	if p.bytes+cap(b.data) > poolBytes {
		return
	}
	b.data, b.off = b.data[:0], 0
	list := &p.free[class-minClass]
	b.next, *list = *list, b
	p.bytes += cap(b.data)
}

// reserve returns b, or a larger buffer holding the same bytes, with room for
// at least n more.
func (p *pool) reserve(b *buffer, n int) *buffer {
	if b == nil {
		return p.get(n)
	}
	if cap(b.data)-len(b.data) >= n {
		return b
	}
	held := b.bytes()
	if cap(b.data)-len(held) >= n && b.off >= len(held) {
		// At least half is spent: moving the rest down is cheaper than growing.
		b.data = b.data[:copy(b.data[:cap(b.data)], held)]
		b.off = 0
		return b
	}
	if size := max(1<<bits.Len(uint(len(held)+n-1)), cap(b.data)); cap(b.data) > 1<<maxClass {
		p.lent += size - cap(b.data)
		b.data, b.off = b.data[:copy(b.data, held)], 0
		b.data = pages.Grow(b.data, size)
		return b
	}
	grown := p.get(len(held) + n)
	grown.data = append(grown.data, held...)
	p.put(b)
	return grown
}

// settle frees the large buffers that were put back. What the handlers were shown of them, they have seen.
func (p *pool) settle() {
	for i, data := range p.spent {
		pages.Free(data)
		p.spent[i] = nil
	}
	p.spent = p.spent[:0]
}
