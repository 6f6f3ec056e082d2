package coding

import "github.com/klauspost/compress/gzip"

const (
	// maxZippers bounds the bodies that are compressed at a time; others pass as they are. A
	// compressor takes some hundred kilobytes for as long as its body is under way.
	maxZippers = 64
	// MaxSpare is how many are kept for the next response.
	MaxSpare = 4
	// maxKeptOutput bounds the room for compressed bytes that is kept.
	maxKeptOutput = 256 << 10
)

// Zipper compresses one body with gzip (RFC 1952).
type Zipper struct {
	gzip  *gzip.Writer
	next  *Zipper // among the spare ones
	dirty bool    // has taken something since it was flushed
}

// Zippers are those of one goroutine, which share the room for what they give. The zero value is ready.
type Zippers struct {
	out    output
	spare  *Zipper
	spares int
	used   int
}

// output takes what a compressor gives; it is empty between two calls.
type output struct{ data []byte }

func (o *output) Write(p []byte) (int, error) {
	o.data = append(o.data, p...)
	return len(p), nil
}

// Take returns a compressor, or nil if too many are in use.
func (zs *Zippers) Take() *Zipper {
	if zs.used == maxZippers {
		return nil
	}
	zs.used++
	z := zs.spare
	if z == nil {
		// The fastest level: what is spent here, all clients of a worker wait for.
		g, err := gzip.NewWriterLevel(&zs.out, gzip.BestSpeed)
		if err != nil {
			zs.used--
			return nil
		}
		return &Zipper{gzip: g}
	}
	zs.spare, z.next = z.next, nil
	zs.spares--
	z.gzip.Reset(&zs.out)
	return z
}

// Put takes a compressor back. What it has given of a body that broke off is nobody's.
func (zs *Zippers) Put(z *Zipper) {
	zs.used--
	zs.out.data = zs.out.data[:0]
	if zs.spares < MaxSpare {
		z.dirty = false
		z.next, zs.spare = zs.spare, z
		zs.spares++
	}
}

// InUse is how many are taken.
func (zs *Zippers) InUse() int { return zs.used }

// Spares is how many are kept for the next response.
func (zs *Zippers) Spares() int { return zs.spares }

// Trim drops those that are kept.
func (zs *Zippers) Trim() { zs.spare, zs.spares = nil, 0 }

// Write compresses a piece. The output takes everything: there is no error to look at.
func (z *Zipper) Write(data []byte) {
	if len(data) > 0 {
		_, _ = z.gzip.Write(data)
		z.dirty = true
	}
}

// Flush returns all that belongs to what was written, and the end of the body if this is it. Valid
// until the next write of whichever compressor.
func (zs *Zippers) Flush(z *Zipper, last bool) []byte {
	switch {
	case last:
		_ = z.gzip.Close()
	case z.dirty:
		_ = z.gzip.Flush()
	}
	z.dirty = false
	data := zs.out.data
	if zs.out.data = data[:0]; cap(data) > maxKeptOutput {
		zs.out.data = nil
	}
	return data
}
