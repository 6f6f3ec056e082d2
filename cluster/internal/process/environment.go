package process

import (
	"slices"
	"strings"
)

// environment is base without the names in unset, and with set over it. No name is in it twice: which
// one counts depends on who reads.
func environment(base, set, unset []string) []string {
	at := map[string]int{}
	var merged []string
	add := func(entry string) {
		name, _, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return
		}
		if i, known := at[name]; known {
			merged[i] = entry
			return
		}
		at[name] = len(merged)
		merged = append(merged, entry)
	}
	for _, entry := range base {
		if name, _, _ := strings.Cut(entry, "="); !slices.Contains(unset, name) {
			add(entry)
		}
	}
	for _, entry := range set {
		add(entry)
	}
	return merged
}
