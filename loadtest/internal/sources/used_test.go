package sources

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Runs one after the other take other addresses, until a ring is used up.
func TestSourcesTakeTurns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	now := time.Now()
	u := UsedIn(dir)
	u.now = func() time.Time { return now }
	ring := In(netip.MustParsePrefix("127.1.0.0/24"), Max) // 254
	seen := make(map[netip.Addr]int)
	for run := range 3 {
		if run == 2 {
			u = UsedIn(dir) // another process
			u.now = func() time.Time { return now }
		}
		turn := u.Turn(ring)
		if turn.Count != 254 || !turn.Sensible() {
			t.Fatalf("%+v", turn)
		}
		taken := turn.Slice(0, 100)
		if got, want := u.Recent(taken, time.Minute), max(run*100+100-254, 0); got != want {
			t.Errorf("run %d: %d of the addresses were used before, want %d", run, got, want)
		}
		for i := range taken.Count {
			seen[taken.At(i)]++
		}
		for range 2 { // as a run does
			if err := u.Note(taken); err != nil {
				t.Fatal(err)
			}
		}
	}
	if uses := u.read(); len(seen) != 254 || len(uses) != 3 {
		t.Errorf("%d addresses in %d uses", len(seen), len(uses))
	}
	now = now.Add(time.Minute)
	if n := u.Recent(ring, time.Minute); n != 0 {
		t.Errorf("%d are still known", n)
	}
	if other := u.Turn(In(netip.MustParsePrefix("127.2.0.0/30"), Max)); other.Count != 2 {
		t.Errorf("%+v", other)
	}
}

// Nothing that is in the file, and no lack of one, keeps a run from its addresses.
func TestSourcesWithoutMemory(t *testing.T) {
	ring := In(netip.MustParsePrefix("127.1.0.0/24"), Max)
	dir := t.TempDir()
	for _, text := range []string{
		"", "{", "[null]", `[{"sources":{"first":"127.1.0.1","size":254,"begin":-1,"count":1}}]`,
		`[{"sources":{"first":"127.1.0.1","size":0,"begin":0,"count":1}}]`,
	} {
		u := UsedIn(dir)
		if err := os.WriteFile(u.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if turn := u.Turn(ring); !turn.Sensible() || turn.Count != 254 || u.Recent(turn, time.Hour) != 0 {
			t.Errorf("%q: %+v", text, turn)
		}
	}
	for _, u := range []Used{UsedIn(""), UsedIn(filepath.Join(dir, "no", "where"))} {
		if turn := u.Turn(ring); turn.Count != 254 {
			t.Errorf("%+v", turn)
		}
	}
	u := UsedIn("")
	if turn := u.Turn(KernelsChoice); turn != KernelsChoice || u.Note(turn) != nil {
		t.Errorf("%+v", turn)
	}
}

func TestSourcesInCommon(t *testing.T) {
	ring := In(netip.MustParsePrefix("127.1.0.0/24"), Max)
	for a := range 10 {
		for n := 1; n < 254; n += 50 {
			x, y := ring.Slice(a*25, a*25+n), ring.Slice(200, 300)
			addresses := make(map[netip.Addr]bool)
			for i := range x.Count {
				addresses[x.At(i)] = true
			}
			want := 0
			for i := range y.Count {
				if addresses[y.At(i)] {
					want++
				}
			}
			if got := x.common(y); got != want || y.common(x) != want {
				t.Errorf("%v and %v: %d, want %d", x, y, got, want)
			}
		}
	}
}
