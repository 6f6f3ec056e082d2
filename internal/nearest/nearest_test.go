package nearest

import (
	"testing"

	"pgregory.net/rapid"
)

func TestFind(t *testing.T) {
	candidates := []string{"tcp", "http", "connections_per_second", "messages_per_second", "fall"}
	for word, want := range map[string]string{
		"tpc":                    "tcp",
		"htp":                    "http",
		"conections_per_secnd":   "connections_per_second",
		"fal":                    "fall",
		"connections-per-second": "connections_per_second",
		"xyz":                    "",
		"port":                   "",
		"":                       "",
	} {
		if got := Find(word, candidates); got != want {
			t.Errorf("Find(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistanceIsSymmetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[abc]{0,6}`)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := Distance(a, b)
		if d != Distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("Distance(%q, %q) = %d, the other way %d", a, b, d, Distance(b, a))
		}
	})
}

func TestOneOf(t *testing.T) {
	for word, want := range map[string]string{
		"tpc": `"tpc" is not one of tcp, http; did you mean tcp?`,
		"xyz": `"xyz" is not one of tcp, http`,
	} {
		if got := OneOf(word, []string{"tcp", "http"}); got != want {
			t.Errorf("OneOf(%q) = %s, want %s", word, got, want)
		}
	}
}
