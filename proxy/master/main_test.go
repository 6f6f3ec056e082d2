package master

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/erlmcp/erlmcp/internal/guardtest"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// The test binary also plays the roles of processes the tests start.
func TestMain(m *testing.M) {
	if slices.Equal(os.Args[1:], []string{"lb", "worker"}) {
		if err := playWorker(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if role := strings.Fields(os.Getenv(proxytest.BenchRole)); len(role) > 0 {
		if err := proxytest.BenchRoles[role[0]](role[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	guardtest.Guard()
	goleak.VerifyTestMain(m)
}
