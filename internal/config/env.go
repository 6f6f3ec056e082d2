package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/internal/nearest"
)

// readEnv lays the environment over c. Every leaf has a variable: lb.limits.messages_per_second is
// ERLMCP_LB_LIMITS_MESSAGES_PER_SECOND. Other variables that begin with ERLMCP_ are not an error, as
// they may be meant for another version, but a warning when they look like a mistake.
func (c *Config) readEnv(env map[string]string, p *problems) {
	leaves := leavesOf(reflect.TypeOf(*c), "")
	paths := make(map[string]string, len(leaves))
	for _, l := range leaves {
		paths[l.env()] = l.path
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if path, ok := paths[name]; ok {
			c.readText(name, path, env[name], p)
		} else if warning := strayVariable(name, paths); warning != "" {
			c.Warnings = append(c.Warnings, warning)
		}
	}
}

// strayVariable says what is odd about a variable that sets nothing, "" when nothing is.
func strayVariable(name string, paths map[string]string) string {
	rest, ours := strings.CutPrefix(name, "ERLMCP_")
	if !ours {
		return ""
	}
	if near := nearest.Find(name, slices.Sorted(maps.Keys(paths))); near != "" {
		return fmt.Sprintf("%s is not known and has no effect; did you mean %s?", name, near)
	}
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		if strings.HasPrefix(rest, strings.ToUpper(f.key)+"_") {
			return name + " is not known and has no effect"
		}
	}
	return ""
}
