package cmd

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/internal/guardtest"
	"github.com/erlmcp/erlmcp/internal/waittest"
)

// suiteMark is the variable of a suite that is killed. It survives [unconfigured].
const suiteMark = "CMD_TEST_SUITE"

// A suite that is killed leaves nothing behind of the systems its tests have started.
func TestKilledSuite(t *testing.T) {
	if os.Getenv(suiteMark) != "" { // the suite
		startCluster(t, 2)
		fmt.Println("up")
		select {}
	}
	c := &chaos{T: t, mark: fmt.Sprintf("%s=%d", suiteMark, os.Getpid())}
	suite := exec.Command("/proc/self/exe", "-test.run=^TestKilledSuite$")
	suite.Env = append(os.Environ(), c.mark, guardtest.Variable+"=")
	out, err := suite.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := suite.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if all := c.processes(); line != "up\n" || len(all) < 3+2+3 { // the suite, both daemons, nodes, and a worker of each
		t.Errorf("it said %q, %v; running: %v", line, err, all)
	}
	_ = suite.Process.Kill()
	_ = suite.Wait()
	waittest.For(t, time.Minute, "the end of all processes", func() ([]chaosProcess, bool) { all := c.processes(); return all, len(all) == 0 })
}
