package cluster

import (
	"regexp"
	"slices"
	"testing"
	"time"
)

func TestFilter(t *testing.T) {
	lines := []string{
		"a no time yet",
		"b 2026-01-01T10:00:00Z not b's",
		"a 2026-01-01T10:00:00.000Z INFO old",
		"a   still old",
		`a {"time":"2026-01-01T11:00:00+01:00","msg":"as old"}`,
		`a {"ts":"2026-01-01T12:00:00Z","msg":"new"}`,
		"a   still new",
		`a {"time":12}`,
		"b too old",
		"a 2026-01-01T13:00:00.123456789+00:00\tnewer",
		"a ",
		"b 2026-01-01T13:00:00Z new in b",
	}
	noon := time.Date(2026, 1, 1, 11, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		filter Filter
		want   []int
	}{
		{"nothing", Filter{}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
		{"since", Filter{Since: noon}, []int{5, 6, 7, 9, 10, 11}},
		{"match", Filter{Match: regexp.MustCompile(`old$`)}, []int{2, 3, 8}},
		{"both", Filter{Since: noon, Match: regexp.MustCompile(`new`)}, []int{5, 6, 9, 11}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			print := test.filter.Through(func(node string, line []byte) error {
				got = append(got, node+" "+string(line))
				return nil
			})
			for _, line := range lines {
				if err := print(line[:1], []byte(line[2:])); err != nil {
					t.Fatal(err)
				}
			}
			var want []string
			for _, i := range test.want {
				want = append(want, lines[i])
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n%q\nwant\n%q", got, want)
			}
		})
	}
}

func FuzzLineTime(f *testing.F) {
	f.Add("2026-01-01T10:00:00Z x")
	f.Add(`{"time":"2026-01-01T11:00:00+01:00"}`)
	f.Fuzz(func(t *testing.T, line string) {
		if at, ok := lineTime([]byte(line)); ok && at.IsZero() && line[0] == '{' {
			t.Errorf("%q has the time %v", line, at)
		}
	})
}
