package sources

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/erlmcp/erlmcp/internal/control"
	"github.com/erlmcp/erlmcp/internal/wholefile"
)

// Used remembers in a file which client addresses load tests have connected from. A balancer keeps a
// source on the node it had last, which for the clients of a node that a load test has broken is another
// one than at first; so each run begins behind the addresses of the one before.
type Used struct {
	file string // empty: nothing is remembered
	now  func() time.Time
}

// usage is one run.
type usage struct {
	Sources Range     `json:"sources"`
	Ended   time.Time `json:"ended"`
}

// mostUses bounds the file: more than a ring is long, in runs of the usual size.
const mostUses = 256

// UsedIn is the memory in a state directory; none without one.
func UsedIn(stateDir string) Used {
	u := Used{now: time.Now}
	if stateDir != "" {
		u.file = filepath.Join(stateDir, "loadtest.sources")
	}
	return u
}

// Turn returns all of a ring so that it begins behind the last use of it, and anywhere if none is known: other
// load tests may have been run from elsewhere.
func (u Used) Turn(r Range) Range {
	if !r.First.IsValid() {
		return r
	}
	for _, use := range slices.Backward(u.read()) {
		if s := use.Sources; s.sameRing(r) {
			return r.Slice(s.Begin+s.Count, s.Begin+s.Count+r.Size)
		}
	}
	begin := rand.IntN(r.Size)
	return r.Slice(begin, begin+r.Size)
}

// Recent counts the sources of r that were used within a time until now.
func (u Used) Recent(r Range, within time.Duration) int {
	n := 0
	for _, use := range u.read() {
		if use.Sources.sameRing(r) && u.now().Sub(use.Ended) < within {
			n += use.Sources.common(r)
		}
	}
	return min(n, r.Count)
}

// Note remembers a use that ends now.
func (u Used) Note(r Range) error {
	if u.file == "" || !r.First.IsValid() || r.Count == 0 {
		return nil
	}
	if err := control.PrepareDir(filepath.Dir(u.file)); err != nil {
		return err
	}
	uses := u.read()
	if last := len(uses) - 1; last >= 0 && uses[last].Sources == r { // of the same run, or in its place
		uses = uses[:last]
	}
	uses = append(uses, usage{r, u.now()})
	text, err := json.Marshal(uses[max(len(uses)-mostUses, 0):])
	if err != nil {
		return err
	}
	return wholefile.Write(u.file, text, 0o600)
}

// read returns the uses that are known, the latest one last. A file that makes no sense is like none.
func (u Used) read() []usage {
	text, err := os.ReadFile(u.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var uses []usage
	if err != nil || json.Unmarshal(text, &uses) != nil {
		return nil
	}
	return slices.DeleteFunc(uses, func(use usage) bool { return !use.Sources.Sensible() })
}

func (r Range) sameRing(o Range) bool { return r.First == o.First && r.Size == o.Size }

// Sensible reports whether a range that was read can be one.
func (r Range) Sensible() bool {
	return r.First.IsValid() && 0 < r.Size && r.Size <= Max && 0 <= r.Begin && r.Begin < r.Size && 0 < r.Count && r.Count <= r.Size
}
