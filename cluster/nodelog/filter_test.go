package nodelog

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"testing"
	"time"
)

// chosen are the numbers of the lines that a filter chooses of what is there already.
func chosen(t *testing.T, filter Filter, lines []string) (got []int) {
	t.Helper()
	at := map[string][]int{}
	for i, line := range lines {
		at[line] = append(at[line], i)
	}
	s := &sieve{filter: filter, now: time.Date(2026, 1, 1, 14, 0, 0, 0, time.UTC), print: func(line []byte) error {
		got = append(got, at[string(line)][0])
		at[string(line)] = at[string(line)][1:]
		return nil
	}}
	for _, line := range lines {
		if err := s.line([]byte(line + "\r")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.goLive(); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFilter(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		filter Filter
		lines  []string
		want   []int
	}{
		{"nothing", Filter{}, []string{"a", "2026-01-01T10:00:00Z b", ""}, []int{0, 1, 2}},
		{"no time at all", Filter{Since: noon}, []string{"a", "b", " c"}, []int{0, 1, 2}},
		{"before an old one", Filter{Since: noon}, []string{"a", " b", "2026-01-01T10:00:00Z old"}, nil},
		{"before a new one", Filter{Since: noon}, []string{"a", "2026-01-01T12:00:00Z new", "b"}, []int{0, 1, 2}},
		{"behind an old one", Filter{Since: noon}, []string{"2026-01-01T10:00:00Z old", "  its trace", "tick", "  of tick"}, []int{2, 3}},
		{"between old ones", Filter{Since: noon}, []string{"2026-01-01T10:00:00Z old", "tick", "2026-01-01T11:00:00Z old", "tock"}, []int{3}},
		{"numbers behind an old one", Filter{Since: noon}, []string{"2026-01-01T10:00:00Z old", `{"ts":1767272400.5}`, `{"time":1767261600500}`, `{"time":12}`}, []int{1, 3}},
		{"the clock goes back", Filter{Since: noon}, []string{"2026-01-01T13:00:00Z new", "a", "2026-01-01T10:00:00Z old", "2026-01-01T13:00:00Z new", "b"}, []int{0, 1, 3, 4}},
		{"match", Filter{Match: regexp.MustCompile(`old$`)}, []string{"old", "older", "\x1b[31mold\x1b[0m"}, []int{0, 2}},
		{"both", Filter{Since: noon, Match: regexp.MustCompile(`new`)}, []string{"new 0", "2026-01-01T10:00:00Z new", "new 2", "x", "2026-01-01T12:00:00Z new", "x", "new 6"}, []int{2, 4, 6}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := chosen(t, test.filter, test.lines); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// What comes while it is followed is new, whatever time it says.
func TestFilterLetsPassWhatComes(t *testing.T) {
	log := testLog(t, 1<<20, 1)
	log.write([]byte("2026-01-01T10:00:00Z old\n  its trace\n"))
	done := errors.New("done")
	var got []string
	o := TailOptions{Logs: these(Log{"a", log.path}), Lines: AllLines, Follow: true, Filter: Filter{Since: time.Now().Add(-2 * time.Second)}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	log.write([]byte("unknown\n"))
	err := Tail(ctx, o, func(_ string, line []byte) error {
		switch got = append(got, string(line)); len(got) {
		case 1:
			log.write([]byte("  tick\n2026-01-01T10:00:00Z stands still\ntock\n"))
		case 4:
			return done
		}
		return nil
	})
	if want := []string{"unknown", "  tick", "2026-01-01T10:00:00Z stands still", "tock"}; !errors.Is(err, done) || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

// Of a log of which nothing tells how old it is, no more is held back than a bound, however short the lines are.
func TestFilterHoldsLittleBack(t *testing.T) {
	printed := 0
	s := &sieve{filter: Filter{Since: time.Now()}, now: time.Now(), print: func([]byte) error { printed++; return nil }}
	for range mostHeld/heldLine + 10 {
		if err := s.line(nil); err != nil {
			t.Fatal(err)
		}
	}
	if printed == 0 {
		t.Errorf("%d lines are held back", len(s.held))
	}
}
