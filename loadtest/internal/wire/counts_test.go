package wire

import "testing"

// Counts added up in any grouping are the same, and a map that was shown is not changed.
func TestCountsAdd(t *testing.T) {
	a := Counts{Verified: 1, Nodes: map[string]int{"x": 1}, FirstLost: 5, LastRecovered: 7, Failures: map[string]int64{"rate": 1}}
	b := Counts{Verified: 2, Nodes: map[string]int{"x": 2, "y": 3}, FirstLost: 4, LastVerified: 9, Requests: RequestCounts{3, 1, 1, 0}}
	var sum Counts
	sum.Add(a)
	shown := sum.Nodes
	sum.Add(b)
	if sum.Verified != 3 || sum.Nodes["x"] != 3 || sum.Nodes["y"] != 3 || sum.FirstLost != 4 || sum.LastRecovered != 7 || sum.LastVerified != 9 {
		t.Errorf("%+v", sum)
	}
	if shown["x"] != 1 || a.Nodes["x"] != 1 {
		t.Error("a map was changed")
	}
	if sum.Requests.UnderWay() != 1 {
		t.Errorf("%+v", sum.Requests)
	}
}
