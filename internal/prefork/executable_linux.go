package prefork

import (
	"fmt"
	"os"
)

const selfExe = "/proc/self/exe"

// Executable is what to execute to get this very binary again. It works after the file was deleted
// or replaced, as `go run` and upgrades do: the link leads to the file this process was started
// from, not to what now has its name.
func Executable() (string, error) {
	if _, err := os.Stat(selfExe); err != nil {
		return "", fmt.Errorf("prefork: find own executable: %w", err)
	}
	return selfExe, nil
}

// NameProcess gives this process the short name "erlmcp" that ps -e, top and pgrep show. A process
// executed through [Executable] would be called "exe". Inherit does it for copies.
func NameProcess() {
	// The file names the thread group's leader, whichever thread writes it. A name is not worth an
	// error.
	_ = os.WriteFile("/proc/self/comm", []byte(processName), 0)
}
