// Package natural orders names as people do.
package natural

import (
	"cmp"
	"slices"
	"strings"
)

// Compare orders names that end in a number by that number: agent2 before agent10.
func Compare(a, b string) int {
	return cmp.Or(
		strings.Compare(strings.TrimRight(a, digits), strings.TrimRight(b, digits)),
		cmp.Compare(len(a), len(b)),
		strings.Compare(a, b))
}

// Sort orders names so.
func Sort(names []string) { slices.SortFunc(names, Compare) }

const digits = "0123456789"
