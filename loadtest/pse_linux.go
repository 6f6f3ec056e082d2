package loadtest

import (
	_ "unsafe" // for go:linkname

	_ "github.com/nats-io/nats-server/v2/server/pse" // whose init comes before ours
)

// The NATS server has every process that it is linked into, workers and nodes too, read its own state in /proc once a second
// for as long as it lives, for statistics that nobody asks for here. It ends that when it cannot read.
//
//go:linkname statFile github.com/nats-io/nats-server/v2/server/pse.procStatFile
var statFile string

// The goroutine that reads was started by then, and waits for a second.
//
//go:norace
func init() { statFile = "" }
