package loadtest

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
)

// usedSources remembers in a file which client addresses load tests have connected from. A balancer keeps a
// source on the node it had last, which for the clients of a node that a load test has broken is another
// one than at first; so each run begins behind the addresses of the one before.
type usedSources struct {
	file string // empty: nothing is remembered
	now  func() time.Time
}

// sourceUse is one run.
type sourceUse struct {
	Sources sourceRange `json:"sources"`
	Ended   time.Time   `json:"ended"`
}

// mostUses bounds the file: more than a ring is long, in runs of the usual size.
const mostUses = 256

func usedSourcesIn(stateDir string) usedSources {
	u := usedSources{now: time.Now}
	if stateDir != "" {
		u.file = filepath.Join(stateDir, "loadtest.sources")
	}
	return u
}

// turn returns all of a ring so that it begins behind the last use of it, and anywhere if none is known: other
// load tests may have been run from elsewhere.
func (u usedSources) turn(r sourceRange) sourceRange {
	if !r.First.IsValid() {
		return r
	}
	for _, use := range slices.Backward(u.read()) {
		if s := use.Sources; s.sameRing(r) {
			return r.slice(s.Begin+s.Count, s.Begin+s.Count+r.Size)
		}
	}
	begin := rand.IntN(r.Size)
	return r.slice(begin, begin+r.Size)
}

// recent counts the sources of r that were used within a time until now.
func (u usedSources) recent(r sourceRange, within time.Duration) int {
	n := 0
	for _, use := range u.read() {
		if use.Sources.sameRing(r) && u.now().Sub(use.Ended) < within {
			n += use.Sources.common(r)
		}
	}
	return min(n, r.Count)
}

// note remembers a use that ends now.
func (u usedSources) note(r sourceRange) error {
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
	uses = append(uses, sourceUse{r, u.now()})
	text, err := json.Marshal(uses[max(len(uses)-mostUses, 0):])
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(u.file), filepath.Base(u.file))
	if err != nil {
		return err
	}
	_, err = next.Write(text)
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), u.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}

// read returns the uses that are known, the latest one last. A file that makes no sense is like none.
func (u usedSources) read() []sourceUse {
	text, err := os.ReadFile(u.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var uses []sourceUse
	if err != nil || json.Unmarshal(text, &uses) != nil {
		return nil
	}
	return slices.DeleteFunc(uses, func(use sourceUse) bool { return !use.Sources.sensible() })
}

func (r sourceRange) sameRing(o sourceRange) bool { return r.First == o.First && r.Size == o.Size }

func (r sourceRange) sensible() bool {
	return r.First.IsValid() && 0 < r.Size && r.Size <= maxConnections && 0 <= r.Begin && r.Begin < r.Size && 0 < r.Count && r.Count <= r.Size
}
