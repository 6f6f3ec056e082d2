package loadtest

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
	u := usedSourcesIn(dir)
	u.now = func() time.Time { return now }
	ring := sourcesIn(netip.MustParsePrefix("127.1.0.0/24"), maxConnections) // 254
	seen := make(map[netip.Addr]int)
	for run := range 3 {
		if run == 2 {
			u = usedSourcesIn(dir) // another process
			u.now = func() time.Time { return now }
		}
		turn := u.turn(ring)
		if turn.Count != 254 || !turn.sensible() {
			t.Fatalf("%+v", turn)
		}
		taken := turn.slice(0, 100)
		if got, want := u.recent(taken, time.Minute), max(run*100+100-254, 0); got != want {
			t.Errorf("run %d: %d of the addresses were used before, want %d", run, got, want)
		}
		for i := range taken.Count {
			seen[taken.at(i)]++
		}
		for range 2 { // as a run does
			if err := u.note(taken); err != nil {
				t.Fatal(err)
			}
		}
	}
	if uses := u.read(); len(seen) != 254 || len(uses) != 3 {
		t.Errorf("%d addresses in %d uses", len(seen), len(uses))
	}
	now = now.Add(time.Minute)
	if n := u.recent(ring, time.Minute); n != 0 {
		t.Errorf("%d are still known", n)
	}
	if other := u.turn(sourcesIn(netip.MustParsePrefix("127.2.0.0/30"), maxConnections)); other.Count != 2 {
		t.Errorf("%+v", other)
	}
}

// Nothing that is in the file, and no lack of one, keeps a run from its addresses.
func TestSourcesWithoutMemory(t *testing.T) {
	ring := sourcesIn(netip.MustParsePrefix("127.1.0.0/24"), maxConnections)
	dir := t.TempDir()
	for _, text := range []string{
		"", "{", "[null]", `[{"sources":{"first":"127.1.0.1","size":254,"begin":-1,"count":1}}]`,
		`[{"sources":{"first":"127.1.0.1","size":0,"begin":0,"count":1}}]`,
	} {
		u := usedSourcesIn(dir)
		if err := os.WriteFile(u.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if turn := u.turn(ring); !turn.sensible() || turn.Count != 254 || u.recent(turn, time.Hour) != 0 {
			t.Errorf("%q: %+v", text, turn)
		}
	}
	for _, u := range []usedSources{usedSourcesIn(""), usedSourcesIn(filepath.Join(dir, "no", "where"))} {
		if turn := u.turn(ring); turn.Count != 254 {
			t.Errorf("%+v", turn)
		}
	}
	u := usedSourcesIn("")
	if turn := u.turn(kernelsChoice); turn != kernelsChoice || u.note(turn) != nil {
		t.Errorf("%+v", turn)
	}
}

func TestSourcesInCommon(t *testing.T) {
	ring := sourcesIn(netip.MustParsePrefix("127.1.0.0/24"), maxConnections)
	for a := range 10 {
		for n := 1; n < 254; n += 50 {
			x, y := ring.slice(a*25, a*25+n), ring.slice(200, 300)
			addresses := make(map[netip.Addr]bool)
			for i := range x.Count {
				addresses[x.at(i)] = true
			}
			want := 0
			for i := range y.Count {
				if addresses[y.at(i)] {
					want++
				}
			}
			if got := x.common(y); got != want || y.common(x) != want {
				t.Errorf("%v and %v: %d, want %d", x, y, got, want)
			}
		}
	}
}
