package config

import (
	"maps"
	"slices"
)

// Sources lists what the configuration in force was taken from beside File and flags: the user's file, "" if nothing
// is from there, and variables of the environment, in alphabetical order.
func (c *Config) Sources(env []string) (user string, variables []string) {
	vars := environment(env)
	file, names := userFile(vars), make(map[string]bool)
	for _, o := range c.origins {
		if _, set := vars[o.Name]; set && o.Line == 0 {
			names[o.Name] = true
		}
		if o.Line > 0 && o.Name == file && file != c.File {
			user = file
		}
	}
	return user, slices.Sorted(maps.Keys(names))
}

// Path is a key that names a file or a directory, and its value.
type Path struct{ Key, Name string }

// Paths lists the files and directories that the configuration names.
func (c *Config) Paths() (list []Path) {
	for _, p := range c.paths() {
		if *p.value != "" {
			list = append(list, Path{p.key, *p.value})
		}
	}
	return list
}
