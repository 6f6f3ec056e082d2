package prefork

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const deathSignal = true

// surviveParent takes back the death signal, on the thread that carries it.
func surviveParent() { _ = unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0) }

// What ps shows, with and without arguments.
func TestProcessNames(t *testing.T) {
	h := start(t, "worker", 1, nil)
	h.send(t, 0, "ready", nil)
	h.awaitEvents(t, "message", 1)
	dir := filepath.Join("/proc", strconv.Itoa(h.PID(0)))
	for file, want := range map[string]string{"cmdline": "erlmcp\x00worker\x00", "comm": "erlmcp\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
			t.Errorf("%s is %q (%v), want %q", file, got, err, want)
		}
	}
}
