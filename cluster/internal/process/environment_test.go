package process

import (
	"slices"
	"testing"
)

func TestEnvironment(t *testing.T) {
	got := environment(
		[]string{"A=1", "B=2", "A=3", "C=4", "nonsense", "=x", "D=5"},
		[]string{"B=6", "E=7", "D=8", "E=9"}, []string{"C", "D"})
	if want := []string{"A=3", "B=6", "E=9", "D=8"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
