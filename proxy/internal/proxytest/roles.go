package proxytest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/guardtest"
)

// Roles are what processes do that tests start: this test binary again. Packages add theirs before Main.
var Roles = map[string]func(args []string) error{"sites": serveSites}

// roleVariable names a role and its arguments, separated by spaces.
const roleVariable = "ERLMCP_TEST_ROLE"

// PlayRole makes the command of a process that plays a role. Arguments may not be empty, nor have spaces.
func PlayRole(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role+" "+strings.Join(args, " "))
	return cmd
}

// Hold runs the command of a role until the test ends. For each of ports the process inherits a listener on 127.0.0.1, the
// first as descriptor 3.
func Hold(t testing.TB, cmd *exec.Cmd, ports ...*int) {
	t.Helper()
	cmd.Stderr = os.Stderr
	for _, port := range ports {
		var file *os.File
		file, *port = listen(t, "127.0.0.1:0")
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	err := cmd.Start()
	for _, file := range cmd.ExtraFiles {
		file.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// Main plays the role that the process was started for, or else runs the tests.
func Main(m *testing.M) {
	role := strings.Fields(os.Getenv(roleVariable))
	if len(role) == 0 {
		guardtest.Guard()
		goleak.VerifyTestMain(m)
		return
	}
	play := Roles[role[0]]
	if play == nil {
		fmt.Fprintf(os.Stderr, "nobody plays the role %q\n", role[0])
		os.Exit(1)
	}
	if err := play(role[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
