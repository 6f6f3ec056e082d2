// Package config reads erlmcp.yaml, the one configuration of all parts of the program. Each part owns
// its section: the type, the defaults and what is valid.
//
//	Load     reads all sources in their order of precedence
//	Default  is the configuration of an empty file
//	Print    writes a configuration as a file that Load reads
package config

import (
	"reflect"
	"strings"

	"github.com/erlmcp/erlmcp/cluster"
	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/proxy"
)

// Config is the effective configuration.
type Config struct {
	Cluster  cluster.Spec     `yaml:"cluster"`
	LB       proxy.Spec       `yaml:"lb"`
	Health   healthcheck.Spec `yaml:"health"`
	Loadtest loadtest.Spec    `yaml:"loadtest"`

	File     string   // absolute name of the file asked for, or of ./erlmcp.yaml; "" when there is none
	Warnings []string // environment variables that look like keys and are none, and files left out

	origins map[string]Origin // of each leaf that is not a default
	dir     string            // Options.Dir
	once    string            // the name of Options.Text
}

// Default is the configuration of an empty file, before sections take values from each other.
func Default() *Config {
	return &Config{
		Cluster:  cluster.Default(),
		LB:       proxy.Default(),
		Health:   healthcheck.Default(),
		Loadtest: loadtest.Default(),
	}
}

// Once is the name of what was read in place of a file, and cannot be read again; "" if nothing was.
func (c *Config) Once() string { return c.once }

// Origin says where the value of the leaf at path comes from.
func (c *Config) Origin(path string) Origin { return c.origins[path] }

// NodeNames lists the names of the cluster's nodes.
func (c *Config) NodeNames() []string { return topology.Names(c.Cluster.Nodes) }

// Validate reports all that is wrong, with the place where each wrong value was set.
func (c *Config) Validate() error {
	var p problems
	for _, section := range []interface{ Validate() error }{&c.Cluster, &c.LB, &c.Health, &c.Loadtest} {
		if err := section.Validate(); err != nil {
			for _, e := range split(err) {
				p = append(p, c.locate(e))
			}
		}
	}
	if len(p) == 0 {
		c.validateTogether(&p)
	}
	return p.err()
}

// locate adds to a section's error, "path: text", where the value was set.
func (c *Config) locate(err error) error {
	path, text, ok := strings.Cut(err.Error(), ": ")
	if !ok || strings.ContainsAny(path, " \n") {
		return err
	}
	if near := c.meant(path); near != "" {
		text += "; did you mean " + near + "?"
	}
	return &Error{c.nearestOrigin(path), path, text}
}

// nearestOrigin is where path was set, or else the first leaf inside of it, or else the list it is
// an element of.
func (c *Config) nearestOrigin(path string) Origin {
	if o, ok := c.origins[path]; ok {
		return o
	}
	for _, l := range leavesOf(reflect.TypeOf(*c), "") {
		if o, ok := c.origins[l.path]; ok && strings.HasPrefix(l.path, path+".") {
			return o
		}
	}
	if bracket := strings.LastIndexByte(path, '['); bracket > 0 {
		return c.nearestOrigin(path[:bracket])
	}
	return Origin{}
}
