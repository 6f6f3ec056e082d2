package process

import (
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/waittest"
)

const patience = time.Minute

// eventually waits until done is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	waittest.Until(t, patience, what, done)
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	p, ok := readProcEntry(pid)
	return ok && !p.dead
}
