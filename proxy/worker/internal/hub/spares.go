package hub

// Spares is a free list: what comes and goes with connections and requests is not allocated anew.
type Spares[T any] []*T

// Take returns one as it was put back, or a new one.
func (s *Spares[T]) Take() (x *T) {
	last := len(*s) - 1
	if last < 0 {
		return new(T)
	}
	x, (*s)[last], *s = (*s)[last], nil, (*s)[:last]
	return x
}

// Put gives one back.
func (s *Spares[T]) Put(x *T) { *s = append(*s, x) }
