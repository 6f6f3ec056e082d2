package healthcheck

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Spec is the section "health" of the configuration: how the health command asks.
type Spec struct {
	Interval time.Duration `yaml:"interval"` // between rounds of continuous checks
	Timeout  time.Duration `yaml:"timeout"`  // of each probe, and of the question to the balancer
	Kinds    []string      `yaml:"kinds"`    // probes made at each node
}

// Limits of a Spec.
const (
	minInterval = 100 * time.Millisecond
	minTimeout  = time.Millisecond
	maxTimeout  = time.Minute
)

// Default probes with all that is known of a node every 5 s.
func Default() Spec {
	return Spec{Interval: 5 * time.Second, Timeout: DefaultTimeout, Kinds: []string{"tcp", "mcp"}}
}

// Validate reports everything that is wrong, each error beginning with the key it is about.
func (s *Spec) Validate() error {
	var errs []error
	if s.Interval < minInterval {
		errs = append(errs, fmt.Errorf("health.interval: %v is shorter than %v", s.Interval, minInterval))
	}
	if s.Timeout < minTimeout || s.Timeout > maxTimeout {
		errs = append(errs, fmt.Errorf("health.timeout: %v is not from %v to %v", s.Timeout, minTimeout, maxTimeout))
	}
	if len(s.Kinds) == 0 {
		errs = append(errs, errors.New("health.kinds: names no check"))
	}
	for i, kind := range s.Kinds {
		if _, err := Lookup(kind); err != nil {
			errs = append(errs, fmt.Errorf("health.kinds[%d]: %w", i, err))
		} else if slices.Contains(s.Kinds[:i], kind) {
			errs = append(errs, fmt.Errorf("health.kinds[%d]: %q is there twice", i, kind))
		}
	}
	return errors.Join(errs...)
}
