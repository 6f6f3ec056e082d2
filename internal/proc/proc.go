// Package proc tells what processes use, and which belong together.
package proc

import "time"

// State is what one process uses at a moment.
type State struct {
	RSS         int64         // bytes
	CPU         time.Duration // user and system, since it began
	Descriptors int
}
