package prefork

import (
	"errors"
	"fmt"
	"math"
	"sort"
)

// MaxCopies bounds what [Copies] answers, unless there are more cores.
const MaxCopies = 512

// ErrLimit says that the limit of open files is too low for any sensible number of copies.
// [Listen] and [Start] return it for zero copies, which is how [Copies] says the same.
var ErrLimit = errors.New("the limit of open files is too low (raise the hard limit: ulimit -Hn)")

// Copies is how many processes it takes to hold items (connections) of perItem descriptors each
// under the limit of nofile descriptors a process: the smallest n ≥ cores with
//
//	perItem · max(⌈1.1·m⌉, min(items, ⌈m + 4σ⌉)) ≤ nofile − Reserve
//	m = items/n    σ = √(m·(1 − 1/n))
//
// SO_REUSEPORT sends every connection to a copy by a hash of its addresses, so a copy's share is
// not m but binomial with mean m and deviation σ; the descriptors of one connection arrive
// together, which is why σ counts items and not descriptors. Four deviations leave one copy in
// 30,000 short of room, and what is then too much is refused by that copy, not lost. For large
// shares σ is negligible (1 % of m at 10,000) and the 10 % take over: room for connections that are
// closing while their successors arrive.
//
// The result is 0 when max(cores, MaxCopies) copies would not do; see [ErrLimit]. It never rises
// with nofile and never falls with items, perItem or cores, as long as it is not 0.
func Copies(cores, items, perItem int, nofile uint64) int {
	room := Room(perItem, nofile)
	least := max(cores, 1)
	for n := least; n <= max(least, MaxCopies); n++ {
		if share(items, n) <= room {
			return n
		}
	}
	return 0
}

// Most is how many copies a pool may need that starts with one a lane and grows when they are full: each lane may leave
// the room of one copy unused, and a tenth is for connections that are closing while their successors arrive.
//
// The result is 0 when MaxCopies would not do, or when the parent could not look after so many under the same limit.
func Most(lanes, items, perItem int, nofile uint64) int {
	room := Room(perItem, nofile)
	if room == 0 {
		return 0
	}
	most := lanes + 11*items/10/room
	if most > max(lanes, MaxCopies) || uint64(parentPerCopy*most+Reserve) > nofile {
		return 0
	}
	return most
}

// Holds is how many items Most is enough for, up to a number of them; 0 when not even for one.
func Holds(lanes, items, perItem int, nofile uint64) int {
	return sort.Search(items, func(n int) bool { return Most(lanes, n+1, perItem, nofile) == 0 })
}

// parentPerCopy is how many descriptors a copy takes in its parent: control stream and process.
const parentPerCopy = 2

// ParentFiles is how many descriptors so many copies take in their parent.
func ParentFiles(copies int) int { return parentPerCopy * copies }

// share is how many of items one of n copies must have room for. It never rises with n.
func share(items, n int) int {
	m := float64(items) / float64(n)
	sigma := math.Sqrt(m * (1 - 1/float64(n)))
	spread := min(items, int(math.Ceil(m+4*sigma)))
	headroom := (11*items + 10*n - 1) / (10 * n) // ⌈1.1·items/n⌉
	return max(spread, headroom)
}

// MoreFiles is what to do where a limit of open files is too low for what a key asks for: so many would fit.
func MoreFiles(key string, fits int) string {
	advice := "raise the hard limit (ulimit -Hn, LimitNOFILE= of a systemd unit)"
	if fits > 0 {
		advice += fmt.Sprintf(" or lower %s: %d would fit", key, fits)
	}
	return advice
}
