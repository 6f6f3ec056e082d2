package natural

import (
	"fmt"
	"testing"
)

func TestCompareNatural(t *testing.T) {
	names := []string{"agent10", "remote1", "agent2", "b", "agent1"}
	Sort(names)
	if got := fmt.Sprint(names); got != "[agent1 agent2 agent10 b remote1]" {
		t.Error(got)
	}
}
