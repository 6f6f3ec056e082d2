package loadtest

import (
	"cmp"
	"slices"
	"strings"
)

// compareNatural orders names that end in a number by that number: agent2 before agent10.
func compareNatural(a, b string) int {
	return cmp.Or(
		strings.Compare(strings.TrimRight(a, digits), strings.TrimRight(b, digits)),
		cmp.Compare(len(a), len(b)),
		strings.Compare(a, b))
}

func sortNatural(names []string) { slices.SortFunc(names, compareNatural) }

const digits = "0123456789"
