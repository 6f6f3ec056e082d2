package admin

import "testing"

func TestVisitorsFor(t *testing.T) {
	for _, test := range []struct {
		nofile        uint64
		workers, want int
	}{
		{20_000, 13, maxVisitors},
		{1024, 288, 88},
		{1024, 384, minVisitors},
		{1 << 40, 2, maxVisitors},
	} {
		if got := VisitorsFor(test.nofile, test.workers); got != test.want {
			t.Errorf("%d descriptors and %d workers: %d, want %d", test.nofile, test.workers, got, test.want)
		}
	}
}
