// Package cgrouptest gives tests a cgroup of their own.
package cgrouptest

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/cluster/internal/cgroupfs"
)

// patience is how long what is left in the cgroup may take to die.
const patience = time.Minute

// Own has this process run in a cgroup of its own until the test ends, and returns that.
func Own(t testing.TB) string {
	t.Helper()
	before, err := cgroupfs.Own()
	if err != nil {
		t.Skipf("no cgroup v2: %v", err)
	}
	dir, err := os.MkdirTemp(before, "test-")
	if err != nil {
		t.Skipf("cgroups cannot be made: %v", err)
	}
	if err := cgroupfs.Kills(dir); err != nil {
		_ = os.Remove(dir)
		t.Skipf("the kernel is older than 5.14: %v", err)
	}
	t.Cleanup(func() {
		_ = cgroupfs.Join(before, 0)
		_ = cgroupfs.Kill(dir)
		if err := errors.Join(cgroupfs.AwaitEmpty(dir, patience), cgroupfs.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	if err := cgroupfs.Join(dir, 0); err != nil {
		t.Skipf("cgroups cannot be changed: %v", err)
	}
	return dir
}
