package affinity

import "time"

// Time is an instant in tenths of a second by the wall clock, modulo 2³²: that repeats after 13 years.
// Balancers that share a key compare instants of each other, so their clocks should agree to within the
// time that a node takes to start.
type Time uint32

// timeLen is the length of a Time in a tag.
const timeLen = 4

// At is the Time of t. It is never 0.
func At(t time.Time) Time { return max(1, Time(t.UnixMilli()/100)) }

// Before reports whether t is earlier than u, of two instants that are at most six years apart.
func (t Time) Before(u Time) bool { return int32(t-u) < 0 }
