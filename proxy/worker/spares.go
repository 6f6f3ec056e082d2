package worker

// spares is a free list: what comes and goes with connections and requests is not allocated anew.
type spares[T any] []*T

// take returns one as it was put back, or a new one.
func (s *spares[T]) take() (x *T) {
	last := len(*s) - 1
	if last < 0 {
		return new(T)
	}
	x, (*s)[last], *s = (*s)[last], nil, (*s)[:last]
	return x
}

func (s *spares[T]) put(x *T) { *s = append(*s, x) }
