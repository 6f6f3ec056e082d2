// Package nearest guesses what was meant by a mistyped word.
package nearest

import (
	"fmt"
	"strings"
)

// OneOf says that a word is none of those that there are, and which may have been meant.
func OneOf(word string, choices []string) string {
	text := fmt.Sprintf("%q is not one of %s", word, strings.Join(choices, ", "))
	if near := Find(word, choices); near != "" {
		text += "; did you mean " + near + "?"
	}
	return text
}

// Find returns the candidate most like word, or "" when none is like it: at most two edits away, and
// at most a third of its length.
func Find(word string, candidates []string) string {
	best, fewest := "", 3
	for _, c := range candidates {
		if edits := Distance(word, c); edits < fewest && 3*edits <= max(len(c), 3) {
			best, fewest = c, edits
		}
	}
	return best
}

// Distance is the number of single-byte insertions, deletions, substitutions and swaps of neighbours
// that turn a into b (optimal string alignment).
func Distance(a, b string) int {
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitute := above[j-1]
			if a[i-1] != b[j-1] {
				substitute++
			}
			row[j] = min(substitute, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
